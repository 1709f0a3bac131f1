"""A run whose organisation chose that it waits for tokens: it gives its place away, and goes on where it was."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import pytest

from domain.ids import UserId, organization_id
from domain.usage import Usage
from tests.acceptance.conftest import Serving
from tests.acceptance.test_cancel import check_calls, check_nothing_open, conversations, delegate, names
from tests.serving import Served
from tests.upstream.reply import Call, Policy, Reply, fixed
from tests.upstream.server import Upstream

ACME = organization_id("acme")
ASKED = {"messages": [{"role": "user", "content": "hello, who are you?"}]}
LIMIT = 1_000_000


async def spend_all(server: Served) -> None:
    """Leave too little for a call."""
    ledger = server.state.quota
    held = await ledger.reserve(ACME, 1, user_id=UserId("bob"), agent="main", provider="openai", model="gpt-4o-mini")
    used = (await ledger.today(ACME)).used
    await ledger.commit(held, Usage(LIMIT - used - 500, 0, "provider"))


async def put(server: Served, **changes: Any) -> None:
    async with server.http() as http:
        answer = await http.put("/v1/quotas", json=changes)
        assert answer.status_code == 200, answer.text


async def wait_for_tokens(server: Served, limit: int = LIMIT) -> None:
    await put(server, limits=[{"scope": "organization", "daily_tokens": limit}], on_exhausted="wait")


async def raise_limit(server: Served) -> None:
    await put(server, limits=[{"scope": "organization", "daily_tokens": 2 * LIMIT}])


async def waiting(owner_dsn: str, run_id: str) -> dict[str, Any]:
    """The run's row once it waits for tokens."""
    async with asyncio.timeout(30), await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as conn:
        while True:
            cursor = conn.cursor(row_factory=psycopg.rows.dict_row)
            await cursor.execute("SELECT * FROM runs WHERE run_id = %s AND resumes_at IS NOT NULL", [run_id])
            if row := await cursor.fetchone():
                return row
            await asyncio.sleep(0.02)


async def ended(server: Served, thread_id: str, run_id: str) -> str:
    async with asyncio.timeout(30):
        while (run := await server.sdk().runs.get(thread_id, run_id))["status"] in ("pending", "running"):
            await asyncio.sleep(0.02)
    return str(run["status"])


def midnight(owner_dsn: str) -> None:
    """The day is over, and what was to happen then is due."""
    with psycopg.connect(owner_dsn, autocommit=True) as conn:
        conn.execute("UPDATE quota_days SET day = day - 1")
        conn.execute("UPDATE usage_ledger SET day = day - 1")
        conn.execute("UPDATE procrastinate_jobs SET scheduled_at = now()")


async def start(server: Served, thread_id: str | None = None) -> tuple[str, str]:
    client = server.sdk()
    thread_id = thread_id or (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread_id, "supervisor", input=ASKED)
    return thread_id, run["run_id"]


async def test_a_reader_waits_with_the_run_until_the_limit_is_raised(serving: Serving, owner_dsn: str) -> None:
    with Upstream(fixed("I am ", "here")) as upstream:
        async with serving(upstream) as server:
            await wait_for_tokens(server)
            await spend_all(server)
            thread, run = await start(server)
            parts: list[Any] = []

            async def read() -> None:
                async for part in server.sdk().runs.join_stream(thread, run, stream_mode=["custom", "messages-tuple"]):
                    parts.append(part)

            reader = asyncio.create_task(read())
            row = await waiting(owner_dsn, run)
            assert (row["status"], row["holder"], row["lease_until"]) == ("pending", None, None)
            assert (await server.sdk().runs.get(thread, run))["status"] == "pending"
            assert (await server.sdk().threads.get(thread))["status"] == "busy"
            assert server.state.engine._live == {}
            assert upstream.requests == []
            await raise_limit(server)
            async with asyncio.timeout(30):
                await reader
            assert await ended(server, thread, run) == "success"
    told = [part.data for part in parts if part.event == "custom" and part.data.get("type") == "quota_wait"]
    assert told[0]["resumes_at"] == row["resumes_at"].isoformat()
    assert (told[0]["scope"], told[0]["subject"]) == ("organization", None)
    assert "I am here" in "".join(str(p.data[0]["content"]) for p in parts if p.event == "messages")
    assert [part.event for part in parts if part.event == "error"] == []
    check_nothing_open(owner_dsn)


async def test_at_the_reset_it_goes_on_and_the_wait_is_not_the_turns(serving: Serving, owner_dsn: str) -> None:
    with Upstream(fixed("a new day")) as upstream:
        async with serving(upstream, CONSILIUM_LIMITS__TURN_SECONDS="4") as server:
            await wait_for_tokens(server)
            await spend_all(server)
            thread, run = await start(server)
            row = await waiting(owner_dsn, run)
            await asyncio.sleep(max(0.0, row["created_at"].timestamp() + 4.3 - time.time()))  # its turn would be over
            midnight(owner_dsn)
            assert await ended(server, thread, run) == "success"
            values = (await server.sdk().threads.get_state(thread))["values"]
            assert "a new day" in str(values["messages"][-1]["content"])
    with psycopg.connect(owner_dsn) as conn:
        ran = conn.execute("SELECT attempt, waited_seconds, resumes_at FROM runs").fetchone()
    assert ran is not None
    assert ran[0] == 2
    assert ran[1] > 0.5
    assert ran[2] is None


async def test_others_work_meanwhile_and_its_own_thread_keeps_its_order(serving: Serving, owner_dsn: str) -> None:
    with Upstream(fixed("done")) as upstream:
        async with serving(upstream, CONSILIUM_MAX_CONCURRENT_RUNS="1") as server:
            await wait_for_tokens(server)
            await spend_all(server)
            thread, first = await start(server)
            await waiting(owner_dsn, first)
            _, second = await start(server, thread)
            globex = server.sdk("globex")
            other = (await globex.threads.create())["thread_id"]
            assert "__error__" not in await globex.runs.wait(other, "supervisor", input=ASKED)
            assert (await server.sdk().runs.get(thread, second))["status"] == "pending"
            await raise_limit(server)
            for run in (first, second):
                assert await ended(server, thread, run) == "success"
    with psycopg.connect(owner_dsn) as conn:
        order = conn.execute(
            "SELECT run_id::text FROM runs WHERE thread_id = %s ORDER BY finished_at", [thread]
        ).fetchall()
    assert order == [(first,), (second,)]


async def test_it_waits_through_a_restart(serving: Serving, owner_dsn: str) -> None:
    with Upstream(fixed("still there")) as upstream:
        async with serving(upstream) as server:
            await wait_for_tokens(server)
            await spend_all(server)
            thread, run = await start(server)
            before = await waiting(owner_dsn, run)
        async with serving(upstream) as server:
            assert (await server.sdk().runs.get(thread, run))["status"] == "pending"
            assert (await waiting(owner_dsn, run))["attempt"] == before["attempt"]
            await raise_limit(server)
            assert await ended(server, thread, run) == "success"


async def test_a_waiting_run_is_cancelled_at_once_and_the_thread_is_free(serving: Serving, owner_dsn: str) -> None:
    with Upstream(fixed("never asked")) as upstream:
        async with serving(upstream) as server:
            await wait_for_tokens(server)
            await spend_all(server)
            thread, run = await start(server)
            await waiting(owner_dsn, run)
            async with asyncio.timeout(5):
                await server.sdk().runs.cancel(thread, run, wait=True)
            assert await ended(server, thread, run) == "interrupted"
            assert (await server.sdk().threads.get(thread))["status"] == "idle"
            await raise_limit(server)
            thread, run = await start(server, thread)
            assert await ended(server, thread, run) == "success"
    check_nothing_open(owner_dsn)
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)


def delegating(server: list[Served], loop: asyncio.AbstractEventLoop) -> Policy:
    """Hands over; by then somebody has used the tokens up."""

    def policy(body: dict[str, Any]) -> Reply:
        if "finish_subagent" in names(body):
            return Reply(calls=[Call("finish_subagent", '{"summary": "this is my part"}', "call_finish")])
        if body["messages"][-1]["role"] == "tool":
            return Reply(["they said: this is my part"])
        asyncio.run_coroutine_threadsafe(spend_all(server[0]), loop).result(30)
        return delegate("legal_agent", "marketing_agent")

    return policy


@pytest.mark.parametrize("end", ["resumed", "cancelled"])
async def test_children_wait_with_their_parent(serving: Serving, owner_dsn: str, end: str) -> None:
    served: list[Served] = []
    with Upstream(delegating(served, asyncio.get_running_loop())) as upstream:
        async with serving(upstream) as server:
            served.append(server)
            await wait_for_tokens(server)
            thread, run = await start(server)
            await waiting(owner_dsn, run)
            assert len(upstream.requests) == 1
            if end == "cancelled":
                await server.sdk().runs.cancel(thread, run, wait=True)
                assert await ended(server, thread, run) == "interrupted"
            else:
                await raise_limit(server)
                assert await ended(server, thread, run) == "success"
                assert len(upstream.requests) == 4, "the supervisor is not asked again what it had decided"
            parent, *_ = await conversations(server, thread)
            assert check_calls(parent) == ["call_legal_agent", "call_marketing_agent"]
            if end == "resumed":
                assert "they said: this is my part" in str(parent[-1]["content"])
    check_nothing_open(owner_dsn)


async def test_a_used_up_day_is_no_refusal_at_the_door(serving: Serving, owner_dsn: str) -> None:
    with Upstream(fixed("done")) as upstream:
        async with serving(upstream) as server:
            await wait_for_tokens(server)
            await spend_all(server)
            ledger = server.state.quota
            call = {"user_id": UserId("bob"), "agent": "main", "provider": "openai", "model": "gpt-4o-mini"}
            await ledger.commit(await ledger.reserve(ACME, 500, **call), Usage(500, 0, "provider"))  # type: ignore[arg-type]
            thread, run = await start(server)
            await waiting(owner_dsn, run)
            await put(server, on_exhausted="refuse")
            assert await ended(server, thread, run) == "error"
            with psycopg.connect(owner_dsn) as conn:
                error = conn.execute("SELECT error FROM runs").fetchone()
            assert error is not None
            assert error[0]["error_code"] == "quota_exceeded"
            assert error[0]["details"]["resets_at"]


async def test_what_no_day_can_pay_for_is_an_error_at_once(serving: Serving, owner_dsn: str) -> None:
    with Upstream(fixed("never asked")) as upstream:
        async with serving(upstream) as server:
            await wait_for_tokens(server, limit=10)
            thread, run = await start(server)
            assert await ended(server, thread, run) == "error"
            assert upstream.requests == []
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM usage_ledger").fetchone() == (0,)


async def test_tokens_that_are_only_reserved_are_waited_for_seconds(
    serving: Serving, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.engine import executor

    monkeypatch.setattr(executor, "CROWDED_SECONDS", 0.2)
    with Upstream(fixed("done")) as upstream:
        async with serving(upstream) as server:
            await wait_for_tokens(server)
            ledger = server.state.quota
            call = {"user_id": UserId("bob"), "agent": "main", "provider": "openai", "model": "gpt-4o-mini"}
            held = await ledger.reserve(ACME, LIMIT - 100, **call)  # type: ignore[arg-type]
            thread, run = await start(server)
            await waiting(owner_dsn, run)
            await ledger.release(held)
            assert await ended(server, thread, run) == "success"
