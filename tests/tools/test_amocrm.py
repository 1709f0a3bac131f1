"""The amoCRM tools over HTTP against a scripted amoCRM: what they show, what they change, how lists are read to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from domain.errors import InvalidToolArguments, NotFound, ToolProtocolError, ToolRejected
from tests.tools.amocrm import (
    ANNA,
    BORIS,
    DAY,
    DECISION,
    LOST,
    MAIN,
    NEW,
    NOVEMBER,
    PARTNERS,
    TALKS,
    TOKEN,
    WON,
    Amo,
    lead,
    serve_amo,
)  # fmt: skip
from tools.amocrm.config import AmoConfig
from tools.amocrm.server import TOOLS, open_crm
from tools.amocrm.tool import Crm
from tools.arguments import validate

BY_NAME = {tool.name: tool for tool in TOOLS}


async def call(crm: Crm, name: str, /, **arguments: Any) -> dict[str, Any]:
    tool = BY_NAME[name]
    return await tool.run(crm, validate(tool.full_name, tool.parameters, arguments))


@asynccontextmanager
async def account(**given: Any) -> AsyncIterator[tuple[Amo, Crm]]:
    async with serve_amo(per_second=10_000, **given) as amo, open_crm(AmoConfig(amo.url, token=TOKEN)) as crm:
        yield amo, crm


def sums(shown: dict[str, Any]) -> dict[int, tuple[int, int]]:
    return {stage["status_id"]: (stage["count"], stage["sum"]) for stage in shown["stages"]}


NOVEMBER_SUMS = {NEW: (2, 370_000), TALKS: (2, 480_000), DECISION: (1, 600_000), WON: (1, 700_000), LOST: (1, 90_000)}


@pytest.mark.parametrize("filters", [True, False])
async def test_the_pipeline_of_a_month_by_stage(filters: bool) -> None:
    async with account(filters=filters) as (amo, crm):
        shown = await call(crm, "pipeline_summary", date_from="2026-11-01", date_to="2026-11-30")
        main, partners = shown["pipelines"]
        assert sums(main) == NOVEMBER_SUMS
        assert main["open"] == {"count": 5, "sum": 1_450_000}
        assert main["won"] == {"count": 1, "sum": 700_000}
        assert main["lost"] == {"count": 1, "sum": 90_000}
        assert main["total"] == {"count": 7, "sum": 2_240_000}
        assert (main["pipeline"], main["stages"][1]["stage"]) == ("Продажи", "Переговоры")
        assert partners["open"] == {"count": 1, "sum": 40_000}
        assert (shown["currency"], shown["complete"]) == ("RUB", True)
        assert shown["period"] == {"from": "2026-11-01", "to": "2026-11-30", "time_zone": "Europe/Moscow"}
        asked = [query for method, path, query, _ in amo.requests if path == "/api/v4/leads"]
        assert any("filter[statuses][0][status_id]" in query for query in asked) is filters


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize(
    ("basis", "expected"),
    [
        ("created_at", {NEW: (2, 370_000), TALKS: (1, 0), DECISION: (1, 600_000), WON: (0, 0), LOST: (1, 90_000)}),
        ("closed_at", {WON: (1, 700_000), LOST: (1, 90_000)}),
        (
            "updated_at",
            {NEW: (2, 370_000), TALKS: (1, 0), DECISION: (1, 600_000), WON: (1, 700_000), LOST: (1, 90_000)},
        ),
    ],
)
async def test_what_a_period_is_about(basis: str, expected: dict[int, tuple[int, int]], filters: bool) -> None:
    async with account(filters=filters) as (_, crm):
        shown = await call(
            crm, "pipeline_summary", pipeline_id=MAIN, basis=basis, date_from="2026-11-01", date_to="2026-11-30"
        )
        assert sums(shown["pipelines"][0]) == expected


async def test_without_a_period_everything_counts_and_one_persons_leads_are_theirs() -> None:
    async with account() as (_, crm):
        everything = await call(crm, "pipeline_summary", pipeline_id=MAIN)
        assert everything["pipelines"][0]["won"] == {"count": 2, "sum": 1_010_000}
        boris = await call(crm, "pipeline_summary", pipeline_id=MAIN, responsible_user_id=BORIS)
        assert boris["pipelines"][0]["total"] == {"count": 2, "sum": 120_000}


async def test_a_lead_without_a_price_is_counted_as_unknown() -> None:
    async with account(leads=[lead(1, "a", None, NEW, NOVEMBER), lead(2, "b", 5, NEW, NOVEMBER)]) as (_, crm):
        shown = await call(crm, "pipeline_summary", pipeline_id=MAIN)
        assert shown["pipelines"][0]["open"] == {"count": 2, "sum": 5, "without_price": 1}


@pytest.mark.parametrize("filters", [True, False])
async def test_lists_are_read_to_their_last_page(filters: bool) -> None:
    many = [lead(n, f"Сделка {n}", n, NEW if n % 2 else TALKS, NOVEMBER + n) for n in range(1, 612)]
    async with account(leads=many, filters=filters) as (amo, crm):
        shown = await call(crm, "pipeline_summary", pipeline_id=MAIN)
        assert shown["pipelines"][0]["total"] == {"count": 611, "sum": sum(range(1, 612))}
        assert {query["limit"] for _, path, query, _ in amo.requests if path == "/api/v4/leads"} == {"250"}
        amo.requests.clear()
        found = await call(crm, "leads_search", pipeline_id=MAIN, status_id=TALKS, limit=3, offset=2)
        assert [one["id"] for one in found["leads"]] == [606, 604, 602]
        assert (found["more"], found["complete"]) == (True, True)
        last = await call(crm, "leads_search", limit=100, offset=600)
        assert (len(last["leads"]), last["more"]) == (11, False)


@pytest.mark.parametrize("filters", [True, False])
async def test_leads_are_found_by_stage_period_person_and_text(filters: bool) -> None:
    async with account(filters=filters) as (_, crm):

        async def ids(**arguments: Any) -> list[int]:
            return sorted(one["id"] for one in (await call(crm, "leads_search", **arguments))["leads"])

        assert await ids(pipeline_id=MAIN, status_id=TALKS) == [3, 5]
        assert await ids(status_id=WON) == [6, 8]
        assert await ids(responsible_user_id=BORIS) == [2, 5]
        assert await ids(date_from="2026-11-11") == [4, 5]
        assert await ids(date_field="closed_at", date_from="2026-10-31", date_to="2026-10-31") == [9]
        assert await ids(date_field="closed_at", date_to="2026-10-30") == [8]
        assert await ids(query="гелиос") == [1]
        assert await ids(query="nothing") == []
        assert await ids(pipeline_id=PARTNERS, date_from="2026-11-01") == [10]


async def test_a_lead_is_shown_with_names_and_times() -> None:
    async with account() as (amo, crm):
        amo.leads[0]["custom_fields_values"] = [{"field_id": 5, "field_name": "Город", "values": [{"value": "Пермь"}]}]
        amo.leads[0]["_embedded"] |= {"tags": [{"id": 1, "name": "vip"}], "contacts": [{"id": 21, "is_main": True}]}
        shown = await call(crm, "entity_get", entity="leads", id=1)
        assert shown["item"] == {
            "id": 1, "name": "Насосы для «Гелиос»", "price": 250_000, "currency": "RUB", "pipeline_id": MAIN,
            "pipeline": "Продажи", "status_id": NEW, "stage": "Первичный контакт", "stage_kind": "open",
            "responsible_user_id": ANNA, "responsible": "Анна Соколова", "created_at": "2026-11-02T00:00:00+03:00",
            "updated_at": "2026-11-02T00:00:00+03:00", "tags": ["vip"], "contact_ids": [21], "fields": {"Город": "Пермь"},
            "url": f"{amo.url}/leads/detail/1",
        }  # fmt: skip


async def test_who_may_not_list_users_sees_leads_without_names() -> None:
    async with account(administrator=False) as (amo, crm):
        for _ in range(3):
            shown = await call(crm, "entity_get", entity="leads", id=1)
            assert shown["item"]["responsible_user_id"] == ANNA
            assert "responsible" not in shown["item"]
        assert [path for _, path, _, _ in amo.requests].count("/api/v4/users") == 1
        with pytest.raises(ToolRejected, match="no right to it"):
            await call(crm, "users_get")


async def test_what_changes_seldom_is_asked_once_for_all() -> None:
    async with account() as (amo, crm):
        await asyncio.gather(*(call(crm, "entity_get", entity="leads", id=n) for n in range(1, 6)))
        paths = [path for _, path, _, _ in amo.requests]
        assert [paths.count(f"/api/v4/{name}") for name in ("account", "users", "leads/pipelines")] == [1, 1, 1]


async def test_the_other_entities() -> None:
    async with account() as (amo, crm):
        contact = (await call(crm, "contacts_search", query="петров"))["contacts"][0]
        assert (contact["name"], contact["fields"], contact["leads_ids"]) == (
            "Иван Петров", {"Телефон": "+7 900 111-22-33"}, [1],
        )  # fmt: skip
        company = await call(crm, "entity_get", entity="companies", id=41)
        assert company["item"]["name"] == "ООО «Гелиос»"
        open_tasks = await call(crm, "tasks_search", is_completed=False)
        assert [(one["id"], one["responsible"], one["complete_till"]) for one in open_tasks["tasks"]] == [
            (61, "Анна Соколова", "2026-11-22T00:00:00+03:00")
        ]
        due = await call(crm, "tasks_search", date_to="2026-11-05")
        assert [(one["id"], one["result"]) for one in due["tasks"]] == [(62, "Согласовали")]
        linked = await call(crm, "tasks_search", entity_type="leads", entity_id=1)
        assert [one["id"] for one in linked["tasks"]] == [61]
        notes = await call(crm, "notes_get", entity="leads", entity_id=1)
        assert [(one["type"], one.get("text"), one.get("duration")) for one in notes["notes"]] == [
            ("call_in", None, 60), ("common", "Просят скидку", None),
        ]  # fmt: skip
        users = await call(crm, "users_get")
        assert [(one["id"], one["name"], one["is_admin"]) for one in users["users"]] == [
            (ANNA, "Анна Соколова", True), (BORIS, "Борис Ким", False),
        ]  # fmt: skip
        pipelines = (await call(crm, "leads_pipelines_get"))["pipelines"]
        assert [(one["name"], one["is_archive"]) for one in pipelines] == [
            ("Продажи", False), ("Партнёры", False), ("Старая воронка", True),
        ]  # fmt: skip
        assert [stage["kind"] for stage in pipelines[0]["stages"]] == [
            "unsorted",
            "open",
            "open",
            "open",
            "won",
            "lost",
        ]
        amo.requests.clear()
        await call(crm, "leads_pipelines_get", pipeline_id=MAIN)
        assert amo.requests == []  # known for a minute


async def test_a_lead_moves_to_another_stage() -> None:
    async with account() as (amo, crm):
        told = await call(crm, "leads_update", id=1, status_id=TALKS, price=260_000)
        assert (told["before"]["stage"], told["after"]["stage"]) == ("Первичный контакт", "Переговоры")
        assert (told["before"]["price"], told["after"]["price"]) == (250_000, 260_000)
        patches = [(path, body) for method, path, _, body in amo.requests if method == "PATCH"]
        assert patches == [("/api/v4/leads/1", {"status_id": TALKS, "price": 260_000, "pipeline_id": MAIN})]
        won = await call(crm, "leads_update", id=1, status_id=WON)
        assert won["after"]["stage_kind"] == "won"
        other = await call(crm, "leads_update", id=2, pipeline_id=PARTNERS, status_id=3202)
        assert other["after"]["pipeline"] == "Партнёры"


async def test_what_is_created_and_changed() -> None:
    async with account() as (amo, crm):
        made = await call(crm, "leads_create", name="Новая", price=5, pipeline_id=MAIN, status_id=TALKS, contact_id=21)
        new = amo.leads[-1]
        assert (made["id"], new["name"], new["status_id"]) == (new["id"], "Новая", TALKS)
        assert new["_embedded"]["contacts"] == [{"id": 21}]
        await call(crm, "contacts_create", name="Пётр", phone="+7 900 000-00-01", email="p@x.example")
        assert amo.contacts[-1]["custom_fields_values"] == [
            {"field_code": "PHONE", "values": [{"value": "+7 900 000-00-01", "enum_code": "WORK"}]},
            {"field_code": "EMAIL", "values": [{"value": "p@x.example", "enum_code": "WORK"}]},
        ]
        await call(crm, "companies_update", id=41, name="АО «Гелиос»")
        assert amo.companies[0]["name"] == "АО «Гелиос»"
        await call(crm, "tasks_create", text="Счёт", complete_till="2026-11-23T15:30", entity_type="leads", entity_id=1)
        assert amo.tasks[-1]["complete_till"] == NOVEMBER + 22 * DAY + 15 * 3600 + 1800
        await call(crm, "tasks_create", text="Счёт", complete_till="2026-11-23")
        assert amo.tasks[-1]["complete_till"] == NOVEMBER + 23 * DAY - 1
        done = await call(crm, "tasks_update", id=61, is_completed=True, result="Дозвонились")
        assert (done["before"]["is_completed"], done["after"]["result"]) == (False, "Дозвонились")
        await call(crm, "notes_create", entity="leads", entity_id=1, text="Согласны")
        assert (amo.notes[-1]["note_type"], amo.notes[-1]["params"]) == ("common", {"text": "Согласны"})
        changed = await call(crm, "notes_update", entity="leads", entity_id=1, id=81, text="Без скидки")
        assert (changed["before"]["text"], changed["after"]["text"]) == ("Просят скидку", "Без скидки")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("leads_update", {"id": 1}, "name at least one field"),
        ("leads_update", {"id": 1, "status_id": 77}, r"no stage 77 in pipeline 31; there are .*3102 \(Переговоры\)"),
        ("leads_update", {"id": 1, "pipeline_id": 9, "status_id": NEW}, r"no pipeline 9; there are 31 \(Продажи\)"),
        ("leads_update", {"id": 1, "pipeline_id": PARTNERS}, "say to which stage"),
        ("leads_update", {"id": 1, "responsible_user_id": 9}, "responsible_user_id: The value you selected"),
        ("leads_search", {"pipeline_id": 9}, r"no pipeline 9"),
        ("leads_search", {"date_from": "2026-11-31"}, "no such day 2026-11-31"),
        ("leads_search", {"date_from": "2026-12-01", "date_to": "2026-11-01"}, "after date_to"),
        ("leads_search", {"date_from": "November"}, "date_from"),
        ("leads_search", {"limit": 1000}, "limit"),
        ("pipeline_summary", {"pipeline_id": 9}, "no pipeline 9"),
        ("tasks_create", {"text": "x", "complete_till": "2026-11-21T25:00"}, "no such time"),
        ("tasks_create", {"text": "x", "complete_till": "2026-11-21", "entity_id": 1}, "entity_type"),
        ("tasks_update", {"id": 61, "result": "x"}, "is_completed"),
        ("tasks_search", {"entity_id": 1}, "entity_type"),
        ("notes_update", {"entity": "leads", "entity_id": 1, "id": 82, "text": "x"}, "call_in"),
        ("notes_create", {"entity": "leads", "entity_id": 999, "text": "x"}, "entity_id"),
        ("entity_get", {"entity": "deals", "id": 1}, "entity"),
    ],
)
async def test_what_can_not_be_is_refused_by_name(name: str, arguments: dict[str, Any], message: str) -> None:
    async with account() as (amo, crm):
        before = repr((amo.leads, amo.tasks, amo.notes))
        with pytest.raises(InvalidToolArguments, match=message):
            await call(crm, name, **arguments)
        assert repr((amo.leads, amo.tasks, amo.notes)) == before


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("entity_get", {"entity": "leads", "id": 999}),
        ("entity_get", {"entity": "contacts", "id": 999}),
        ("entity_get", {"entity": "tasks", "id": 999}),
        ("leads_update", {"id": 999, "price": 1}),
        ("tasks_update", {"id": 999, "text": "x"}),
        ("notes_update", {"entity": "leads", "entity_id": 1, "id": 999, "text": "x"}),
    ],
)
async def test_what_is_not_there(name: str, arguments: dict[str, Any]) -> None:
    async with account() as (_, crm):
        with pytest.raises(NotFound, match="999"):
            await call(crm, name, **arguments)


async def test_what_was_changed_is_told_even_if_it_can_not_be_read_again() -> None:
    async with account() as (amo, crm):
        await call(crm, "leads_search")
        kept = amo.answer

        def after_the_change(method: str, path: str, query: Any, body: Any) -> Any:
            answer = kept(method, path, query, body)
            if method == "PATCH":
                amo.answers.append((403, {}, b""))
            return answer

        amo.answer = after_the_change  # type: ignore[method-assign, assignment]
        told = await call(crm, "leads_update", id=1, price=1)
        assert (told["changed"], told["before"]["price"], told["after"]) == (True, 250_000, None)
        assert amo.leads[0]["price"] == 1


async def test_what_was_created_without_an_id_is_not_taken_for_a_failure_to_repeat() -> None:
    async with account() as (amo, crm):
        await call(crm, "leads_search")
        amo.answers.append((200, {}, b'{"_embedded": {"leads": []}}'))
        with pytest.raises(ToolProtocolError, match="search before you repeat"):
            await call(crm, "leads_create", name="x")
