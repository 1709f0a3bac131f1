"""What of a prompt is kept: the stated order, whole exchanges, calls with their results, and an end that names what is too long."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage

from domain.errors import TooLarge
from domain.knowledge import Source
from domain.tools import ToolResult
from nodes.budget import LEAST_RESULT, Dropped, Parts, cut_middle, fit
from nodes.fitted import counter
from nodes.prompt import assemble
from providers.tokens import count_prompt

COUNT = counter("some-model")
WORD = "harbour "


def passage(n: int, words: int = 40) -> Source:
    return Source.model_validate(
        {
            "n": n,
            "document_id": "00000000-0000-0000-0000-00000000000a",
            "chunk_id": f"00000000-0000-0000-0000-0000000000{n:02d}",
            "title": f"Document {n}",
            "version": 1,
            "score": 1.0,
            "page": None,
            "section": None,
            "start": 0,
            "end": 10,
            "text": f"Passage {n}. {WORD * words}",
        }
    )


def exchange(n: int, words: int = 30) -> list[AnyMessage]:
    return [HumanMessage(f"Question {n}? {WORD * words}"), AIMessage(f"Answer {n}. {WORD * words}")]


def step(n: int, words: int) -> list[AnyMessage]:
    call = {"name": "search_documents", "args": {"query": f"part {n}"}, "id": f"call_{n}", "type": "tool_call"}
    result = ToolResult(status="success", content=f"Result {n}. {WORD * words}")
    return [AIMessage("", tool_calls=[call]), ToolMessage(result.model_dump_json(), tool_call_id=f"call_{n}")]


def given_parts(
    exchanges: int = 6, passages: int = 4, notes: int = 4, steps: int = 0, words: int = 30, cited: tuple[int, ...] = ()
) -> Parts:
    return Parts(
        frame="You are an assistant.",
        closing="",
        summary="They spoke of boats.",
        notes=[f"Note {n}. {WORD * 10}" for n in range(notes)],
        passages=[passage(n + 1) for n in range(passages)],
        history=[message for n in range(exchanges) for message in exchange(n, words)],
        turn=[HumanMessage("And now?"), *(message for n in range(steps) for message in step(n, words * 20))],
        cited=frozenset(cited),
    )


WHOLE = 1_000_000


def tokens_of(parts: Parts) -> int:
    return fit(parts, WHOLE, COUNT).tokens


def test_what_fits_stays_as_it_is() -> None:
    parts = given_parts(steps=2)
    fitted = fit(parts, tokens_of(parts), COUNT)
    assert fitted.kept == parts
    assert not fitted.dropped


def test_history_goes_first_by_whole_exchanges_and_the_last_one_stays() -> None:
    parts = given_parts()
    fitted = fit(parts, tokens_of(parts) - 1, COUNT)
    assert fitted.dropped == Dropped(history=2)
    assert fitted.kept.history == parts.history[2:]
    all_passages = fit(parts, tokens_of(given_parts(exchanges=1)), COUNT)
    assert all_passages.kept.history == parts.history[-2:]
    assert all_passages.kept.passages == parts.passages


def test_then_the_lowest_passages_but_not_those_cited() -> None:
    parts = given_parts(cited=(4,))
    fitted = fit(parts, tokens_of(given_parts(exchanges=1, passages=3, cited=(4,))), COUNT)
    assert [source.n for source in fitted.kept.passages] == [1, 2, 4]
    assert fitted.kept.notes == parts.notes


def test_then_notes_from_the_least_relevant() -> None:
    fitted = fit(given_parts(), tokens_of(given_parts(exchanges=1, passages=0, notes=2)), COUNT)
    assert fitted.kept.passages == []
    assert fitted.kept.notes == given_parts().notes[:2]
    assert len(fitted.kept.history) == 2


def test_then_the_middle_of_results_then_the_last_exchange_then_whole_steps() -> None:
    parts = given_parts(steps=3)
    bare = tokens_of(given_parts(exchanges=1, passages=0, notes=0))
    cut = fit(parts, bare + 900, COUNT)
    assert cut.dropped.results == 3
    assert cut.dropped.steps == 0
    assert len(cut.kept.history) == 2
    for message in cut.kept.turn:
        if isinstance(message, ToolMessage):
            assert json.loads(message.text)["truncated"] is True
            assert "characters left out" in message.text
    fewer = fit(parts, bare + 400, COUNT)
    assert fewer.kept.history == []
    assert fewer.dropped.steps >= 1
    assert fewer.kept.summary
    least = fit(parts, tokens_of(given_parts(0, 0, 0)) + LEAST_RESULT + 40, COUNT)
    assert least.dropped.steps == 2


def test_the_summary_goes_last() -> None:
    alone = given_parts(exchanges=0, passages=0, notes=0)
    fitted = fit(alone, tokens_of(alone) - 1, COUNT)
    assert fitted.dropped == Dropped(summary=True)


@pytest.mark.parametrize("part", ["question", "instructions", "tools"])
def test_what_never_goes_is_named_where_it_is_too_long(part: str) -> None:
    long = WORD * 400
    parts = Parts(
        frame=long if part == "instructions" else "You are an assistant.",
        closing="",
        summary=None,
        notes=["A note."],
        passages=[],
        history=[],
        turn=[HumanMessage(long if part == "question" else "And now?")],
    )
    with pytest.raises(TooLarge) as refused:
        fit(parts, 300, COUNT, tools=400 if part == "tools" else 5)
    assert refused.value.details["part"] == part
    assert refused.value.details["limit"] == 300
    assert refused.value.details["part_tokens"] > 300
    assert part in refused.value.message


def parts_strategy() -> st.SearchStrategy[Parts]:
    small = st.integers(0, 6)
    return st.builds(
        given_parts,
        exchanges=st.integers(0, 12),
        passages=small,
        notes=small,
        steps=small,
        words=st.integers(0, 60),
        cited=st.lists(st.integers(1, 6), max_size=3).map(tuple),
    )


@given(parts_strategy(), st.integers(100, 6_000))
@settings(max_examples=150, deadline=None)
def test_whatever_is_given_the_prompt_is_within_the_budget_and_whole(parts: Parts, budget: int) -> None:
    try:
        fitted = fit(parts, budget, COUNT)
    except TooLarge:
        return
    assert fitted.tokens <= budget
    kept = fitted.kept
    messages: list[BaseMessage] = list(assemble(kept))
    assert count_prompt("some-model", messages) <= budget + 80  # the lines between the parts
    # never cut: instructions, question, what is cited
    assert kept.frame == parts.frame
    assert kept.turn[0] == parts.turn[0]
    assert {s.n for s in parts.passages if s.n in parts.cited} <= {s.n for s in kept.passages}
    # a call goes with its result, and the last step stays
    calls = [call["id"] for message in kept.turn if isinstance(message, AIMessage) for call in message.tool_calls]
    assert calls == [message.tool_call_id for message in kept.turn if isinstance(message, ToolMessage)]
    assert (kept.turn[-1].type, kept.turn[-1].id) == (parts.turn[-1].type, parts.turn[-1].id)
    # what remains of the history is its end, from a question on
    assert list(kept.history) == list(parts.history[len(parts.history) - len(kept.history) :])
    assert not kept.history or isinstance(kept.history[0], HumanMessage)
    # the order: nothing later is touched while something earlier is left
    if fitted.dropped.passages:
        assert len(kept.history) <= 2
    if fitted.dropped.notes:
        assert {source.n for source in kept.passages} <= parts.cited
    if fitted.dropped.results or fitted.dropped.steps:
        assert not kept.notes


@given(st.integers(0, 3_000))
def test_a_cut_leaves_no_source_half_open(keep: int) -> None:
    text = "\n".join(f'<source n="{n}" title="T{n}">\n{WORD * 30}\n</source>' for n in range(8))
    shorter = cut_middle(text, keep)
    assert shorter.count("<source ") == shorter.count("</source>")
    assert "characters left out" in shorter or shorter == text
