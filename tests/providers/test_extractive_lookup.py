"""The extractive model and tools that may come from anywhere: which it calls by itself, with what, and how it tells the result."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from domain.tools import ToolFailure, ToolResult
from providers.extractive import lookup
from providers.extractive.model import ExtractiveChat, build
from retrieval.analyse import analyse
from tools.amocrm.server import TOOLS
from tools.delegation import finish_tool

TODAY = "Organisation: Север. Today is 2026-02-14. Answer in English."
SUMMARY = "amocrm__ammo-crm-pipeline_summary"
PERIOD = {"date_from": {"type": "string"}, "date_to": {"type": "string"}}
SEARCH_PARAMETERS = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}


def function(name: str, description: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    given = parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": given}}


CRM = [function(f"amocrm__{tool.full_name}", tool.description, tool.parameters) for tool in TOOLS]
SEARCH = function("search_documents", "Search", SEARCH_PARAMETERS)
ANALYST = [SEARCH, *CRM, finish_tool()]


@pytest.fixture(scope="module")
def model() -> ExtractiveChat:
    return build(analyse)


def ask(model: ExtractiveChat, tools: list[dict[str, Any]], question: str, *more: BaseMessage) -> AIMessage:
    return model.bind_tools(tools).invoke([SystemMessage(TODAY), HumanMessage(question), *more])


def called(answer: AIMessage) -> tuple[str, dict[str, Any]]:
    [call] = answer.tool_calls
    return call["name"], call["args"]


@pytest.mark.parametrize(
    ("question", "arguments"),
    [
        ("What is our pipeline?", {}),
        ("what is our pipeline this month, by stage?", {"date_from": "2026-02-01", "date_to": "2026-02-28"}),
        ("Какая у нас воронка в этом месяце по этапам?", {"date_from": "2026-02-01", "date_to": "2026-02-28"}),
        ("Покажи воронку продаж за прошлый квартал", {"date_from": "2025-10-01", "date_to": "2025-12-31"}),
        ("How many deals did we lose last month?", {"date_from": "2026-01-01", "date_to": "2026-01-31"}),
        ("Сколько сделок в воронке сегодня?", {"date_from": "2026-02-14", "date_to": "2026-02-14"}),
    ],
)
def test_a_tool_whose_description_covers_the_question_is_read(
    model: ExtractiveChat, question: str, arguments: dict[str, Any]
) -> None:
    assert called(ask(model, ANALYST, question)) == (SUMMARY, arguments)


@pytest.mark.parametrize(
    "question",
    [
        "What was the pipeline in Q1 2026?",
        "Which deals are in the negotiation stage?",
        "What is our average deal size?",
        "What is the win rate?",
        "Why did we lose deals?",
        "Почему мы проиграли сделки?",
        "Create a lead for us",
        "Удали все сделки",
    ],
)
def test_any_other_question_is_one_to_the_documents(model: ExtractiveChat, question: str) -> None:
    assert called(ask(model, ANALYST, question))[0] == "search_documents"


@pytest.mark.parametrize(
    "tool",
    [
        function("office__delete_chairs", "Chairs of the office."),
        function("office__send_list", "Chairs of the office."),
        function("office__chairs", "Chairs of the office."),
        function("office__get_chairs", "Chairs of the office.", SEARCH_PARAMETERS),
        function("office__get_desks", "Desks of the office."),
    ],
)
def test_what_may_change_something_or_needs_more_is_left_alone(model: ExtractiveChat, tool: dict[str, Any]) -> None:
    assert called(ask(model, [SEARCH, tool], "What chairs has the office?"))[0] == "search_documents"
    fine = function("office__get_chairs", "Chairs of the office.")
    assert called(ask(model, [SEARCH, tool, fine], "What chairs has the office?")) == ("office__get_chairs", {})


def result(answer: AIMessage, content: str = "", *, error: str | None = None) -> list[BaseMessage]:
    failure = ToolFailure(code="tool_unavailable", message=error) if error else None
    told = ToolResult(status="error" if error else "success", content=content, error=failure)
    [call] = answer.tool_calls
    return [answer, ToolMessage(told.model_dump_json(), tool_call_id=call["id"], name=call["name"])]


def test_its_result_is_told_with_every_figure(model: ExtractiveChat) -> None:
    rows = [{"stage": "Переговоры", "status_id": 7, "count": 3, "sum": 22_400_000}, {"stage": "Подпись", "count": 0}]
    content = json.dumps(
        {"currency": "RUB", "complete": True, "stages": rows, "total": {"count": 3, "sum": 22_400_000}}
    )
    question = "Какая у нас воронка по этапам?"
    first = ask(model, ANALYST, question)
    name, arguments = called(ask(model, ANALYST, question, *result(first, content)))
    assert name == "finish_subagent"
    assert arguments["citations"] == []
    assert arguments["summary"] == (
        "По данным ammo-crm-pipeline_summary:\n\n"
        "валюта: RUB\nполностью: да\nэтапы:\n\n"
        "| этап | количество | сумма |\n| --- | --- | --- |\n| Переговоры | 3 | 22 400 000 |\n| Подпись | 0 |  |\n\n"
        "всего: количество 3, сумма 22 400 000"
    )
    plain = ask(model, CRM, "What is our pipeline?")
    said = ask(model, CRM, "What is our pipeline?", *result(plain, "Nine open deals."))
    assert said.text == "ammo-crm-pipeline_summary reports:\n\nNine open deals."


def test_where_it_fails_the_documents_are_searched_and_the_failure_is_told(model: ExtractiveChat) -> None:
    question = "What is our pipeline?"
    failed = result(ask(model, ANALYST, question), error="The MCP server 'amocrm' closed the connection.")
    second = ask(model, ANALYST, question, *failed)
    assert called(second)[0] == "search_documents"
    _, told = called(ask(model, ANALYST, question, *failed, *result(second, "No passage matches.")))
    assert told["summary"] == "ammo-crm-pipeline_summary failed: The MCP server 'amocrm' closed the connection."


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("this week", "2026-02-09", "2026-02-15"),
        ("на прошлой неделе", "2026-02-02", "2026-02-08"),
        ("last month", "2026-01-01", "2026-01-31"),
        ("в текущем квартале", "2026-01-01", "2026-03-31"),
        ("previous year", "2025-01-01", "2025-12-31"),
        ("вчера", "2026-02-13", "2026-02-13"),
    ],
)
def test_periods(text: str, first: str, last: str) -> None:
    found = lookup.period_of(text, date(2026, 2, 14))
    assert found == (date.fromisoformat(first), date.fromisoformat(last))
