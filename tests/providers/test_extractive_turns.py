"""The extractive model as an agent: it delegates, searches, finishes, remembers and relays by messages and tool
calls only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from domain.ids import ChunkId, DocumentId
from domain.knowledge import Source
from domain.skills import Skill
from domain.sources import render_notes, render_sources
from domain.tools import ToolFailure, ToolResult
from providers.extractive.model import ExtractiveChat, build
from providers.extractive.sentences import split
from providers.stream import stream_chat
from retrieval.analyse import analyse
from tools.delegation import finish_tool, switch_tool

SKILLS = [
    Skill.model_validate({**entry, "prompt": "x"})
    for entry in yaml.safe_load((Path(__file__).parents[2] / "graphs/skills.yaml").read_text("utf-8"))["skills"]
]
SPECIALISTS = [skill for skill in SKILLS if skill.name != "main"]


def function(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


SAVE = function("save_organization_note", text={"type": "string"})
SEARCH = function("search_documents", query={"type": "string"}, k={"type": "integer"})
SUPERVISOR = [SEARCH, SAVE, switch_tool(SPECIALISTS)]
SPECIALIST = [SEARCH, SAVE, finish_tool()]

CLAUSE = "7.2. За просрочку поставки Поставщик уплачивает неустойку 0,1 % за каждый день."
FOUND = Source(
    n=2, chunk_id=ChunkId("c"), document_id=DocumentId("d"), version=1, title="Договор поставки", page=3,
    section="7. Ответственность", start=0, end=len(CLAUSE), text=CLAUSE, score=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> ExtractiveChat:
    return build(analyse)


def system(*, sources: str = "", notes: list[str] | None = None) -> SystemMessage:
    return SystemMessage(f"You are an agent of <note> and <source>.\n\n{render_notes(notes or [])}\n\n{sources}")


def ask(model: ExtractiveChat, tools: list[dict[str, Any]], *messages: BaseMessage) -> AIMessage:
    return model.bind_tools(tools).invoke(list(messages))


def result(call: dict[str, Any], content: str = "", *, error: str | None = None) -> ToolMessage:
    failure = ToolFailure(code="tool_error", message=error) if error else None
    value = ToolResult(status="error" if error else "success", content=content, error=failure)
    return ToolMessage(value.model_dump_json(), tool_call_id=call["id"], name=call["name"])


@pytest.mark.parametrize(
    ("question", "agent"),
    [
        ("Какая неустойка за просрочку поставки по договору?", "legal_agent"),
        ("What does the NDA say about confidentiality?", "legal_agent"),
        ("Как долго хранятся персональные данные?", "legal_agent"),
        ("What was the conversion rate of the spring campaign?", "marketing_agent"),
        ("Какой охват дала рекламная кампания в соцсетях?", "marketing_agent"),
        ("Which deals are in the negotiation stage?", "business_analyst_agent"),
        ("Какая выручка и маржа за третий квартал?", "business_analyst_agent"),
        ("What is our average deal size?", "business_analyst_agent"),
    ],
)
def test_delegates_by_description(model: ExtractiveChat, question: str, agent: str) -> None:
    answer = ask(model, SUPERVISOR, system(), HumanMessage(question))
    [call] = answer.tool_calls
    assert (call["name"], call["args"]["agent"], call["args"]["task"]) == ("switch_to_subagent", agent, question)
    assert answer.response_metadata["finish_reason"] == "tool_calls"


def test_separate_parts_go_to_separate_agents(model: ExtractiveChat) -> None:
    question = "Какая неустойка за просрочку поставки по договору и какая конверсия у рекламной кампании?"
    answer = ask(model, SUPERVISOR, system(), HumanMessage(question))
    assert [call["args"]["agent"] for call in answer.tool_calls] == ["legal_agent", "marketing_agent"]
    assert all(call["args"]["task"] in question for call in answer.tool_calls)
    assert len({call["id"] for call in answer.tool_calls}) == 2


def test_one_subject_is_one_delegation(model: ExtractiveChat) -> None:
    question = "What is the penalty for late delivery and what is the liability cap of the contract?"
    answer = ask(model, SUPERVISOR, system(), HumanMessage(question))
    assert [call["args"]["agent"] for call in answer.tool_calls] == ["legal_agent"]


@pytest.mark.parametrize("text", ["Привет!", "Hello", "Who are you?", "Спасибо!", "Что ты умеешь?", "Hi, how are you?"])
def test_small_talk_is_answered_directly(model: ExtractiveChat, text: str) -> None:
    answer = ask(model, SUPERVISOR, system(), HumanMessage(text))
    assert answer.tool_calls == []
    assert answer.text
    assert "stop_reason" not in answer.response_metadata


def test_specialist_searches_once_then_finishes(model: ExtractiveChat) -> None:
    question = HumanMessage("Какая неустойка за просрочку поставки?")
    searching = ask(model, SPECIALIST, system(), question)
    [search] = searching.tool_calls
    assert (search["name"], search["args"]["query"]) == ("search_documents", question.text)

    found = result(search, f"1 passages\n{render_sources([FOUND])}")
    [finish] = ask(model, SPECIALIST, system(), question, searching, found).tool_calls
    assert finish["name"] == "finish_subagent"
    assert finish["args"]["citations"] == [2]
    assert f"«{CLAUSE}» [2]" in finish["args"]["summary"]

    nothing = ask(model, SPECIALIST, system(), question, searching, result(search, "No passage matches."))
    [finish] = nothing.tool_calls
    assert finish["args"]["citations"] == []
    assert "нет ответа" in finish["args"]["summary"]
    assert nothing.response_metadata["stop_reason"] == "not_found"


def test_specialist_answers_from_its_context_without_searching(model: ExtractiveChat) -> None:
    answer = ask(
        model, SPECIALIST, system(sources=render_sources([FOUND])), HumanMessage("Какая неустойка за просрочку?")
    )
    assert [call["name"] for call in answer.tool_calls] == ["finish_subagent"]


def test_a_failed_search_is_said_to_have_failed(model: ExtractiveChat) -> None:
    question = HumanMessage("What is the penalty for late delivery?")
    searching = ask(model, [SEARCH], system(), question)
    failed = result(searching.tool_calls[0], error="the database is away")
    answer = ask(model, [SEARCH], system(), question, searching, failed)
    assert "the database is away" in answer.text


def test_relays_a_report_verbatim(model: ExtractiveChat) -> None:
    question = HumanMessage("Какая неустойка за просрочку поставки по договору?")
    delegating = ask(model, SUPERVISOR, system(), question)
    report = f"В документах организации сказано: «{CLAUSE}» [2]"
    answer = ask(model, SUPERVISOR, system(), question, delegating, result(delegating.tool_calls[0], report))
    assert answer.text == report
    assert answer.tool_calls == []


def test_relays_several_reports_and_a_failure(model: ExtractiveChat) -> None:
    question = HumanMessage("What is the penalty in the contract and what is the conversion rate of the campaign?")
    delegating = ask(model, SUPERVISOR, system(), question)
    first, second = delegating.tool_calls
    messages = [result(first, "Report [1]"), result(second, error="the provider is away")]
    answer = ask(model, SUPERVISOR, system(), question, delegating, *messages)
    assert answer.text == (
        "Legal agent: Report [1]\n\nMarketing agent: Marketing agent could not answer: the provider is away"
    )


def test_a_relayed_not_found_is_one(model: ExtractiveChat) -> None:
    question = HumanMessage("Какая неустойка по договору аренды?")
    delegating = ask(model, SUPERVISOR, system(), question)
    none = "В документах и заметках организации нет ответа на этот вопрос."
    answer = ask(model, SUPERVISOR, system(), question, delegating, result(delegating.tool_calls[0], none))
    assert answer.response_metadata["stop_reason"] == "not_found"


@pytest.mark.parametrize(
    ("request_", "fact"),
    [
        ("Запомни, что офис закрыт по пятницам.", "Офис закрыт по пятницам."),
        ("Запомните: бюджет на 2027 год — 5 млн рублей", "Бюджет на 2027 год — 5 млн рублей"),
        ("Пожалуйста, запомни что наш директор Анна", "Наш директор Анна"),
        ("remember that our fiscal year starts in April", "Our fiscal year starts in April"),
        ("Please note that invoices go to Olga.", "Invoices go to Olga."),
        ("Remember: the VAT rate is 20%. What is the penalty?", "The VAT rate is 20%."),
    ],
)
def test_saves_a_note_when_told(model: ExtractiveChat, request_: str, fact: str) -> None:
    for tools in (SUPERVISOR, SPECIALIST):
        [call] = ask(model, tools, system(), HumanMessage(request_)).tool_calls
        assert (call["name"], call["args"]) == ("save_organization_note", {"text": fact})


@pytest.mark.parametrize("text", ["Do you remember what we agreed?", "Remember when we met?", "Note the difference"])
def test_not_every_mention_of_memory_is_a_request(model: ExtractiveChat, text: str) -> None:
    answer = ask(model, [SAVE], system(), HumanMessage(text))
    assert all(call["name"] != "save_organization_note" for call in answer.tool_calls)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [("Saved.", None, "Запомнил"), ("Already known: x", None, "уже есть"), ("", "too long", "too long")],
)
def test_confirms_by_what_the_tool_said(model: ExtractiveChat, content: str, error: str | None, said: str) -> None:
    question = HumanMessage("Запомни, что офис закрыт по пятницам.")
    saving = ask(model, SUPERVISOR, system(), question)
    answer = ask(model, SUPERVISOR, system(), question, saving, result(saving.tool_calls[0], content, error=error))
    assert said in answer.text
    assert answer.tool_calls == []


def test_notes_answer_without_a_number(model: ExtractiveChat) -> None:
    note = "Офис в Казани закрыт по понедельникам."
    answer = ask(model, [], system(notes=[note]), HumanMessage("Когда закрыт офис в Казани?"))
    assert answer.text == f"В памяти организации записано: «{note}»"


def test_a_follow_up_leans_on_the_question_before(model: ExtractiveChat) -> None:
    source = FOUND.model_copy(
        update={"text": "Плата за услуги: 100 долларов. Плата за услуги в евро составляет 92 евро."}
    )
    messages = [HumanMessage("Какая плата за услуги?"), AIMessage("100 долларов"), HumanMessage("а в евро?")]
    answer = ask(model, [], system(sources=render_sources([source])), *messages)
    assert "92 евро" in answer.text


def test_quotes_are_verbatim_pieces_of_their_source(model: ExtractiveChat) -> None:
    text = 'The "Gold" plan costs EUR 90 a month\nand includes support. The "Silver" plan costs EUR 40 a month.'
    source = FOUND.model_copy(update={"text": text})
    answer = ask(model, [], system(sources=render_sources([source])), HumanMessage("How much does the Gold plan cost?"))
    assert answer.text.endswith("\"The 'Gold' plan costs EUR 90 a month and includes support.\" [2]")


async def test_streams_in_pieces_and_passes_the_validator(model: ExtractiveChat) -> None:
    messages = [system(sources=render_sources([FOUND])), HumanMessage("Какая неустойка за просрочку поставки?")]
    chunks = [c async for c in stream_chat(model, "extractive", messages, tools=None, known_tools=set())]
    assert len(chunks) > 3
    assert "".join(chunk.text for chunk in chunks) == model.invoke(messages).text
    assert chunks[-1].response_metadata["model_name"] == "extractive"
    assert chunks[-1].usage_metadata is not None
    assert chunks[-1].usage_metadata["output_tokens"] > 0


def test_same_question_same_answer(model: ExtractiveChat) -> None:
    question = HumanMessage("Какая неустойка за просрочку поставки по договору?")
    first, second = (ask(model, SUPERVISOR, system(), question) for _ in range(2))
    assert first.tool_calls == second.tool_calls


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_sentences_are_pieces_of_the_text(text: str) -> None:
    collapsed = " ".join(text.split())
    assert all(sentence in collapsed for sentence in split(text))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.booleans())
def test_any_message_gets_an_answer(text: str, supervisor: bool) -> None:
    answer = ask(build(analyse), SUPERVISOR if supervisor else SPECIALIST, system(), HumanMessage(text))
    assert answer.text or answer.tool_calls


@pytest.mark.parametrize(
    "text",
    ["Hi there, who am I talking to?", "Спасибо, очень помог!", "ok thanks a lot", "Какие документы у тебя есть?"],
)
def test_small_talk_may_have_words_around_it(model: ExtractiveChat, text: str) -> None:
    answer = ask(model, SUPERVISOR, system(), HumanMessage(text))
    assert (answer.tool_calls, "stop_reason" in answer.response_metadata) == ([], False)


@pytest.mark.parametrize(
    "text", ["Help me with the lease", "Привет, какой штраф в договоре?", "What can you do in Kazan?"]
)
def test_a_question_beside_small_talk_is_none(model: ExtractiveChat, text: str) -> None:
    assert ask(model, SUPERVISOR, system(), HumanMessage(text)).tool_calls


def test_no_answer_names_what_was_searched(model: ExtractiveChat) -> None:
    sources = system(sources=render_sources([FOUND]))
    answer = ask(model, [], sources, HumanMessage("Какой курс евро сегодня?"))
    assert "«Договор поставки»" in answer.text
    assert answer.response_metadata["stop_reason"] == "not_found"


def test_more_than_quoting_is_declined_as_such(model: ExtractiveChat) -> None:
    sources = system(sources=render_sources([FOUND]))
    answer = ask(model, [], sources, HumanMessage("Переведи договор на английский"))
    assert answer.text.startswith("Этого я не умею")
    assert answer.response_metadata["stop_reason"] == "not_found"


def test_a_follow_up_takes_what_it_leans_on_along(model: ExtractiveChat) -> None:
    before = [HumanMessage("How long is the term of the agreement?"), AIMessage("No answer.")]
    [call] = ask(model, SUPERVISOR, system(), *before, HumanMessage("And can it be renewed?")).tool_calls
    assert call["args"]["agent"] == "legal_agent"
    assert call["args"]["context"] == "How long is the term of the agreement?"


@pytest.mark.parametrize(
    "text",
    ["Could you please remember that the lift is inspected in May?", "Можешь запомнить, что лифт проверяют в мае?"],
)
def test_a_polite_request_to_remember_is_no_question(model: ExtractiveChat, text: str) -> None:
    [call] = ask(model, SUPERVISOR, system(), HumanMessage(text)).tool_calls
    assert call["name"] == "save_organization_note"
    assert not call["args"]["text"].endswith("?")
