"""Limits through the API: who may see and set them, what they refuse and when it may be tried again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.ids import UserId, organization_id
from domain.usage import Usage
from server.engine import engine
from tests.serving import Served, serve, settings_for

ACME = organization_id("acme")
ASKED = {"messages": [{"role": "user", "content": "hello"}]}
RUN = {"assistant_id": "supervisor", "input": ASKED}


async def spend(
    server: Served, tokens: int, *, user: str = "ann", provider: str = "openai", model: str = "gpt-4o"
) -> None:
    ledger = server.state.quota
    held = await ledger.reserve(ACME, tokens, user_id=UserId(user), agent="main", provider=provider, model=model)
    await ledger.commit(held, Usage(tokens, 0, "provider"))


async def put(http: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await http.put("/v1/quotas", json=changes)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def limits(shown: dict[str, Any]) -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(one["scope"], one["subject"]): one for one in shown["limits"]}


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    assert told["error_code"] == code
    return told


async def test_what_everybody_sees(server: Served) -> None:
    await spend(server, 120)
    await spend(server, 30, user="bob")
    async with server.http(user="ann", role="member") as http:
        shown = (await http.get("/v1/quotas")).json()
    assert shown["on_exhausted"] == "refuse"
    assert shown["rates"] == {
        scope: {"per_minute": None, "source": "default"} for scope in ("organization", "user", "model")
    }
    found = limits(shown)
    assert set(found) == {("organization", None), ("user", "ann")}
    whole = found["organization", None]
    assert (whole["daily_tokens"], whole["source"], whole["used"], whole["reserved"]) == (2_000_000, "default", 150, 0)
    assert whole["remaining"] == 2_000_000 - 150
    own = found["user", "ann"]
    assert (own["daily_tokens"], own["source"], own["used"], own["remaining"]) == (None, None, 120, None)
    resets_at = datetime.fromisoformat(shown["resets_at"])
    assert resets_at > datetime.now(UTC)
    assert (resets_at.hour, resets_at.minute) == (0, 0)


async def test_limits_are_set_changed_and_taken_away(server: Served) -> None:
    async with server.http() as http, server.http(user="bob", role="member") as bob:
        shown = await put(
            http,
            limits=[
                {"scope": "organization", "daily_tokens": 900},
                {"scope": "user", "subject": "*", "daily_tokens": 500},
                {"scope": "user", "subject": "bob", "daily_tokens": None},
                {"scope": "model", "subject": "openai/gpt-4o-mini", "daily_tokens": 10},
            ],
            rates={"user": 5, "organization": None},
            on_exhausted="wait",
        )
        assert shown == (await http.get("/v1/quotas")).json()
        assert shown["on_exhausted"] == "wait"
        assert shown["rates"]["user"] == {"per_minute": 5, "source": "own"}
        assert shown["rates"]["organization"] == {"per_minute": None, "source": "own"}
        assert shown["rates"]["model"]["source"] == "default"
        found = limits(shown)
        assert found["organization", None]["daily_tokens"] == 900
        assert (found["user", "ann"]["daily_tokens"], found["user", "ann"]["source"]) == (500, "default")
        assert (found["user", "*"]["daily_tokens"], found["user", "*"]["used"]) == (500, None)
        assert (found["user", "bob"]["daily_tokens"], found["user", "bob"]["source"]) == (None, "own")
        assert found["model", "openai/gpt-4o-mini"]["remaining"] == 10
        assert ("user", "ann") not in limits((await bob.get("/v1/quotas")).json())

        shown = await put(
            http, limits=[{"scope": "organization", "daily_tokens": "default"}], rates={"user": "default"}
        )
        assert limits(shown)["organization", None]["daily_tokens"] == 2_000_000
        assert shown["rates"]["user"] == {"per_minute": None, "source": "default"}
        assert shown["rates"]["organization"]["source"] == "own"
        assert (shown["on_exhausted"], limits(shown)["user", "*"]["daily_tokens"]) == ("wait", 500)
        assert await put(http) == shown
    async with server.http("globex") as others:
        assert len((await others.get("/v1/quotas")).json()["limits"]) == 2


@pytest.mark.parametrize("role", ["member", "manager"])
async def test_only_admins_change_them(server: Served, role: Any) -> None:
    async with server.http(role=role) as http:
        told = refused(await http.put("/v1/quotas", json={"on_exhausted": "wait"}), 403, "forbidden")
        assert told["details"]["required_role"] == "admin"
        assert (await http.get("/v1/quotas")).json()["on_exhausted"] == "refuse"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limits": [{"scope": "team", "daily_tokens": 1}]}, "body.limits.0.scope"),
        ({"limits": [{"scope": "organization", "subject": "globex", "daily_tokens": 1}]}, "limits.0.subject"),
        ({"limits": [{"scope": "user", "daily_tokens": 1}]}, "limits.0.subject"),
        ({"limits": [{"scope": "user", "subject": "", "daily_tokens": 1}]}, "body.limits.0.subject"),
        ({"limits": [{"scope": "user", "subject": "u" * 201, "daily_tokens": 1}]}, "limits.0.subject"),
        ({"limits": [{"scope": "model", "daily_tokens": 1}]}, "limits.0.subject"),
        ({"limits": [{"scope": "model", "subject": "gpt-nonsense", "daily_tokens": 1}]}, "limits.0.subject"),
        ({"limits": [{"scope": "model", "subject": "nobody/gpt-4o", "daily_tokens": 1}]}, "limits.0.subject"),
        ({"limits": [{"scope": "organization", "daily_tokens": -1}]}, "body.limits.0.daily_tokens"),
        ({"limits": [{"scope": "organization", "daily_tokens": 1.5}]}, "body.limits.0.daily_tokens"),
        ({"limits": [{"scope": "organization", "daily_tokens": True}]}, "body.limits.0.daily_tokens"),
        ({"limits": [{"scope": "organization", "daily_tokens": 10**16}]}, "body.limits.0.daily_tokens"),
        ({"limits": [{"scope": "organization"}]}, "body.limits.0.daily_tokens"),
        ({"limits": [{"scope": "organization", "daily_tokens": 1}] * 2}, "limits.1"),
        ({"rates": {"user": 0}}, "body.rates.user"),
        ({"rates": {"team": 1}}, "body.rates.team"),
        ({"on_exhausted": "explode"}, "body.on_exhausted"),
        ({"limit": []}, "body.limit"),
    ],
)
async def test_a_wrong_change_names_its_field_and_changes_nothing(
    server: Served, body: dict[str, Any], field: str
) -> None:
    async with server.http() as http:
        before = (await http.get("/v1/quotas")).json()
        told = refused(await http.put("/v1/quotas", json={"on_exhausted": "wait", **body}), 422, "invalid_input")
        assert told["details"]["field"].startswith(field)
        assert (await http.get("/v1/quotas")).json() == before


async def test_models_are_named_as_the_ledger_names_them(server: Served) -> None:
    async with server.http() as http:
        shown = await put(http, limits=[{"scope": "model", "subject": "gpt-4o-mini", "daily_tokens": 7}])
        assert ("model", "openai/gpt-4o-mini") in limits(shown)
        shown = await put(http, limits=[{"scope": "model", "subject": "ollama/anything:7b", "daily_tokens": 7}])
        assert ("model", "ollama/anything:7b") in limits(shown)


async def test_a_users_day_is_refused_at_the_door_and_the_others_go_on(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "QUOTA_SECONDS", 0.0)
    async with server.http() as http, server.http(user="bob", role="member") as bob:
        await put(http, limits=[{"scope": "user", "subject": "bob", "daily_tokens": 10_000}])
        assert "__error__" not in (await bob.post("/runs/wait", json=RUN)).json()
        used = limits((await bob.get("/v1/quotas")).json())["user", "bob"]["used"]
        assert used > 0
        await put(http, limits=[{"scope": "user", "subject": "bob", "daily_tokens": used}])
        answer = await bob.post("/runs/wait", json=RUN)
        told = refused(answer, 429, "quota_exceeded")
        assert (told["details"]["scope"], told["details"]["subject"]) == ("user", "bob")
        left = datetime.fromisoformat(told["details"]["resets_at"]) - datetime.now(UTC)
        assert abs(int(answer.headers["retry-after"]) - left.total_seconds()) < 60
        assert "__error__" not in (await http.post("/runs/wait", json=RUN)).json()
        await put(http, limits=[{"scope": "user", "subject": "bob", "daily_tokens": used + 1}])
        cut = (await bob.post("/runs/wait", json=RUN)).json()["__error__"]
        assert cut["error_code"] == "quota_exceeded"
        assert cut["details"]["resets_at"] == told["details"]["resets_at"]
        assert cut["details"]["scope"] == "user"


async def test_a_rate_refuses_with_the_time_to_wait(server: Served) -> None:
    async with server.http() as http, server.http(user="bob", role="member") as bob:
        await put(http, rates={"user": 2})
        for _ in range(2):
            assert (await http.post("/runs", json=RUN)).status_code == 200
        for path in ("/runs", "/runs/stream", "/runs/wait"):
            answer = await http.post(path, json=RUN)
            told = refused(answer, 429, "rate_limited")
            assert (told["details"]["scope"], told["details"]["limit"]) == ("user", 2)
            assert 0 < told["details"]["retry_after"] <= 30
            assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert (await bob.post("/runs", json=RUN)).status_code == 200
        await put(http, rates={"user": None})
        assert (await http.post("/runs", json=RUN)).status_code == 200


@pytest.fixture
async def limited(owner_dsn: str, tmp_path: Path) -> AsyncIterator[Served]:
    rates = {"CONSILIUM_RATE_ORGANIZATION_PER_MINUTE": "4", "CONSILIUM_RATE_MODEL_PER_MINUTE": "1"}
    async with serve(settings_for(owner_dsn, tmp_path, **rates)) as served:
        yield served


async def test_the_servers_rates_hold_where_an_organisation_has_none(limited: Served) -> None:
    named = {**RUN, "context": {"model": "extractive"}}
    async with limited.http() as http, limited.http(user="bob") as bob, limited.http("globex") as others:
        shown = (await http.get("/v1/quotas")).json()["rates"]
        assert shown["organization"] == {"per_minute": 4, "source": "default"}
        assert (await http.post("/runs", json=named)).status_code == 200
        told = refused(await bob.post("/runs", json=named), 429, "rate_limited")
        assert told["details"]["scope"] == "model"
        for client in (http, bob, bob):
            assert (await client.post("/runs", json=RUN)).status_code == 200
        told = refused(await http.post("/runs", json=RUN), 429, "rate_limited")
        assert told["details"]["scope"] == "organization"
        assert (await others.post("/runs", json=named)).status_code == 200
        assert (await bob.get("/v1/quotas")).status_code == 200, "reading is not limited"
