"""Usage statistics through the API: grouped as asked, priced where the price is known, to everyone what is theirs to see."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from domain.ids import UserId, organization_id
from domain.usage import Usage
from tests.serving import Served

ACME = organization_id("acme")


async def spend(server: Served, user: str, agent: str, provider: str, model: str, usage: Usage) -> None:
    ledger = server.state.quota
    held = await ledger.reserve(ACME, 10, user_id=UserId(user), agent=agent, provider=provider, model=model)
    await ledger.commit(held, usage)


@pytest.fixture
async def spent(server: Served) -> Served:
    await spend(server, "ann", "main", "openai", "gpt-4o-mini", Usage(900_000, 900_000, "provider"))
    await spend(server, "bob", "main", "openai", "gpt-4o-mini", Usage(10, 20, "estimated"))
    await spend(server, "bob", "legal_agent", "ollama", "some-model", Usage(5, 6, "provider"))
    await spend(server, "=1+cmd|' /C calc'!A0", "main", "extractive", "extractive", Usage(1, 2, "estimated"))
    return server


async def get(server: Served, role: Any = "admin", user: str = "ann", **params: Any) -> dict[str, Any]:
    async with server.http(user=user, role=role) as http:
        answer = await http.get("/v1/usage", params=params)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_grouped_as_asked(spent: Served) -> None:
    whole = await get(spent)
    assert whole["group_by"] == ["day", "provider", "model", "agent", "user"]
    assert len(whole["usage"]) == 4
    assert whole["today"]["used"] == 1_800_000 + 30 + 11 + 3
    assert set(whole["today"]) == {
        "day", "limit", "own", "used", "reserved", "remaining", "resets_at", "on_exhausted",
    }  # fmt: skip
    [day] = (await get(spent, group_by="day"))["usage"]
    assert (day["calls"], day["prompt"], day["completion"], day["exact"]) == (4, 900_016, 900_028, False)
    by_agent = {row["agent"]: row for row in (await get(spent, group_by="agent"))["usage"]}
    assert (by_agent["legal_agent"]["calls"], by_agent["legal_agent"]["exact"]) == (1, True)
    assert set(by_agent["main"]) == {"agent", "calls", "prompt", "completion", "exact", "cost_micro_usd"}
    by_model = await get(spent, group_by="model, provider")
    assert by_model["group_by"] == ["provider", "model"]
    assert {(row["provider"], row["model"]) for row in by_model["usage"]} == {
        ("openai", "gpt-4o-mini"), ("ollama", "some-model"), ("extractive", "extractive"),
    }  # fmt: skip


async def test_cost_is_known_or_null_never_guessed(spent: Served) -> None:
    provider = spent.state.services.catalogue.provider("openai")
    assert provider is not None
    price = provider.model("gpt-4o-mini").price
    assert price is not None
    rows = {row["model"]: row for row in (await get(spent, group_by="model"))["usage"]}
    exactly = 900_010 * price.prompt_micro_usd + 900_020 * price.completion_micro_usd
    assert rows["gpt-4o-mini"]["cost_micro_usd"] == -(-exactly // 1_000_000)
    assert rows["some-model"]["cost_micro_usd"] is None
    assert rows["extractive"]["cost_micro_usd"] == 0
    assert (await get(spent))["totals"]["cost_micro_usd"] is None


async def test_members_see_the_organisation_and_themselves(spent: Served) -> None:
    mine = await get(spent, "member", "bob")
    assert {row["user_id"] for row in mine["usage"]} == {"bob"}
    assert (mine["totals"]["calls"], mine["totals"]["prompt"]) == (4, 900_016)
    assert (await get(spent, "member", "bob", group_by="day"))["usage"][0]["calls"] == 4
    assert (await get(spent, "member", "nobody"))["usage"] == []
    for role in ("manager", "admin"):
        assert len({row["user_id"] for row in (await get(spent, role, group_by="user"))["usage"]}) == 3


async def test_another_organisation_sees_nothing(spent: Served) -> None:
    async with spent.http("globex") as http:
        shown = (await http.get("/v1/usage")).json()
    assert (shown["usage"], shown["totals"]["calls"], shown["today"]["used"]) == ([], 0, 0)


async def test_a_table_that_opens_safely(spent: Served) -> None:
    async with spent.http() as http:
        answer = await http.get("/v1/usage", params={"format": "csv", "group_by": "user,model", "days": 30})
        member = await http.get("/v1/usage", params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="usage-30-days.csv"' in answer.headers["content-disposition"]
    head, *rows = list(csv.reader(io.StringIO(answer.text)))
    assert head == ["model", "user_id", "calls", "prompt", "completion", "exact", "cost_micro_usd"]
    cells = {row[1]: row for row in rows if row[1] != "bob"}
    assert set(cells) == {"ann", "'=1+cmd|' /C calc'!A0"}
    assert cells["ann"][2:6] == ["1", "900000", "900000", "true"]
    unpriced = next(row for row in rows if row[0] == "some-model")
    assert unpriced[-1] == ""
    assert next(csv.reader(io.StringIO(member.text)))[0] == "day"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"group_by": "day,planet"}, "group_by"),
        ({"group_by": ","}, "group_by"),
        ({"format": "xlsx"}, "query.format"),
        ({"days": 0}, "query.days"),
        ({"days": 10**9}, "query.days"),
    ],
)
async def test_a_wrong_question_names_its_field(server: Served, params: dict[str, Any], field: str) -> None:
    async with server.http() as http:
        answer = await http.get("/v1/usage", params=params)
    assert answer.status_code == 422
    assert answer.json()["details"]["field"] == field
