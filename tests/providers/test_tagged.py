"""Reasoning and tool calls between tags, told apart however the text is cut."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.tagged import Kind, TaggedText

PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "<tool_call>", "</tool_call>", "<", "</", "a", " b", "{}", "<tool", "\n"]),
    max_size=12,
)


def told(text: str, cuts: list[int], *, calls: bool) -> tuple[list[tuple[Kind, str]], Kind]:
    """The parts, neighbours of the same kind as one (calls are whole already); and where the text ended."""
    tagged = TaggedText(calls=calls)
    parts: list[tuple[Kind, str]] = []
    for start, end in pairwise([0, *sorted(cuts), len(text)]):
        parts += tagged.feed(text[start:end])
    parts += tagged.end()
    merged: list[tuple[Kind, str]] = []
    for kind, group in groupby(parts, key=lambda part: part[0]):
        said = [part[1] for part in group]
        merged += [(kind, one) for one in said] if kind == "call" else [(kind, "".join(said))]
    return merged, tagged.within


@given(PIECES.map("".join), st.lists(st.integers(0, 60), max_size=8), st.booleans())
def test_cuts_make_no_difference(text: str, cuts: list[int], calls: bool) -> None:
    inside = [cut for cut in cuts if cut <= len(text)]
    assert told(text, inside, calls=calls) == told(text, [], calls=calls)
    assert told(text, list(range(len(text))), calls=calls) == told(text, [], calls=calls)


@given(st.text(max_size=40).filter(lambda text: "<" not in text))
def test_plain_text_goes_out_at_once(text: str) -> None:
    assert TaggedText(calls=True).feed(text) == ([("text", text)] if text else [])


@pytest.mark.parametrize(
    ("text", "calls", "parts", "within"),
    [
        ("<think>hm</think>Yes", True, [("thought", "hm"), ("text", "Yes")], "text"),
        ("a<tool_call>{}</tool_call>b", True, [("text", "a"), ("call", "{}"), ("text", "b")], "text"),
        ("<tool_call>1</tool_call><tool_call>2</tool_call>", True, [("call", "1"), ("call", "2")], "text"),
        ("<tool_call>{", True, [], "call"),
        ("<tool_call>{}</tool_call>", False, [("text", "<tool_call>{}</tool_call>")], "text"),
        ("<think><tool_call></think>", True, [("thought", "<tool_call>")], "text"),
        ("a < b <thin", True, [("text", "a < b <thin")], "text"),
        ("</think>", True, [("text", "</think>")], "text"),
    ],
)
def test_what_tags_mean(text: str, calls: bool, parts: list[tuple[Kind, str]], within: Kind) -> None:
    assert told(text, [], calls=calls) == (parts, within)


def test_a_template_may_have_opened_the_reasoning() -> None:
    tagged = TaggedText(calls=False, within="thought")
    assert [*tagged.feed("so</th"), *tagged.feed("ink>Yes")] == [("thought", "so"), ("text", "Yes")]
