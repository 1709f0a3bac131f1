"""The sample account of `consilium mcp-amocrm --sample`: consistent in itself, and changed by the tools for as long as it is served."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from domain.errors import InvalidToolArguments, NotFound
from domain.settings import ROOT
from tests.tools.test_amocrm import call
from tools.amocrm.config import AmoConfig
from tools.amocrm.directory import Directory, Pipeline
from tools.amocrm.sample import DAY, read_sample
from tools.amocrm.server import TOOLS, open_crm
from tools.amocrm.tool import CrmTool
from tools.arguments import validate


async def test_every_entity_can_be_read_and_what_it_is_linked_to_is_there() -> None:
    account = read_sample()
    leads = {row["id"] for row in account.leads}
    parties = {row["id"] for row in [*account.contacts, *account.companies]}
    async with open_crm(AmoConfig("", sample=True)) as crm:
        for kind in ("leads", "contacts", "companies", "tasks"):
            for row in getattr(account, kind):
                shown = (await call(crm, "entity_get", entity=kind, id=row["id"]))["item"]
                assert shown["responsible"]
                assert "url" not in shown
                assert {*shown.get("contact_ids", ()), *shown.get("company_ids", ())} <= parties
                assert set(shown.get("leads_ids", ())) <= leads
        assert all({note["entity_id"]} <= leads for note in account.notes)
        assert all(stage.name for pipeline in (await _pipelines(crm.directory)) for stage in pipeline.stages)


async def _pipelines(directory: Directory) -> list[Pipeline]:
    return list((await directory.pipelines()).values())


async def test_its_pipeline_adds_up() -> None:
    account = read_sample()
    tomorrow = date.today() + timedelta(days=1)  # it may have begun in the account's time zone
    async with open_crm(AmoConfig("", sample=True)) as crm:
        everything = await call(crm, "pipeline_summary")
        lately = await call(
            crm, "pipeline_summary", date_from=str(tomorrow - timedelta(days=10)), date_to=str(tomorrow)
        )
    assert everything["currency"] == "RUB"
    total = sum(one["total"]["sum"] for one in everything["pipelines"])
    assert total == sum(row["price"] for row in account.leads)
    assert sum(one["total"]["count"] for one in everything["pipelines"]) == len(account.leads)
    sales = lately["pipelines"][0]
    assert [(one["stage"], one["count"], one["sum"]) for one in sales["stages"]] == [
        ("Новая заявка", 2, 1_890_000),
        ("Отправлено предложение", 2, 6_450_000),
        ("Переговоры", 3, 22_400_000),
        ("Подписание договора", 2, 11_050_000),
        ("Успешно реализовано", 1, 2_800_000),
        ("Закрыто и не реализовано", 1, 980_000),
    ]


async def test_its_days_are_counted_from_today() -> None:
    account = read_sample(now=1_000 * DAY)
    lead = next(row for row in account.leads if row["id"] == 112)
    assert (lead["created_at"], lead["closed_at"]) == ((1_000 - 95) * DAY, (1_000 - 41) * DAY)


async def test_the_program_serves_it_without_any_setting(tmp_path: Path) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "server.cli", "mcp-amocrm", "--transport", "stdio", "--sample"],
        env={"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    async with stdio_client(command) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        moved = await session.call_tool("ammo-crm-leads_update", {"id": 106, "status_id": 142})
        assert moved.structuredContent is not None
        assert moved.structuredContent["after"]["stage"] == "Успешно реализовано"
        assert moved.structuredContent["after"]["closed_at"]
        for name, arguments in (
            ("leads_create", {"name": "Новая"}),
            ("contacts_create", {"name": "Пётр", "phone": "+7 900 1"}),
            ("tasks_create", {"text": "Счёт", "complete_till": "2030-01-01"}),
            ("notes_create", {"entity": "leads", "entity_id": 106, "text": "Подписали"}),
        ):
            made = await session.call_tool(f"ammo-crm-{name}", arguments)
            assert made.structuredContent is not None
            assert made.structuredContent["created"] is True
            assert isinstance(made.structuredContent["id"], int)
        notes = await session.call_tool("ammo-crm-notes_get", {"entity": "leads", "entity_id": 106})
        assert "Подписали" in str(notes.structuredContent)
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - nothing is awaited meanwhile


WRONG = [
    None,
    "",
    "x",
    "1",
    -1,
    0,
    10**30,
    1.5,
    True,
    [],
    [1],
    {},
    {"a": 1},
    "a\x00b\ud800",
    "9999-12-31",
    "0001-01-01T00:00",
    "😀" * 300,
]
FITTING = {
    "id": 101, "entity_id": 101, "entity": "leads", "entity_type": "leads", "name": "x", "text": "x", "complete_till": "2030-01-01",
}  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
async def test_any_value_of_any_argument_is_taken_or_refused(tool: CrmTool) -> None:
    async with open_crm(AmoConfig("", sample=True)) as crm:
        for field in (*tool.properties, "unknown"):
            for value in WRONG:
                given = {**{name: FITTING[name] for name in tool.required}, field: value}
                with suppress(InvalidToolArguments, NotFound):  # anything else would be a crash
                    await tool.run(crm, validate(tool.full_name, tool.parameters, given))
