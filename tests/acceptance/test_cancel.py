"""A run that is stopped in the middle of a delegation: every call is closed, nothing stays reserved, the thread goes on."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import psycopg

from tests.acceptance.conftest import Serving
from tests.serving import Served
from tests.upstream.reply import Call, Policy, Reply, fixed
from tests.upstream.server import Upstream

ASKED = {"messages": [{"role": "user", "content": "What do the specialists say?"}]}
NOTE = "Our fiscal year starts in April."


def names(body: dict[str, Any]) -> set[str]:
    return {tool["function"]["name"] for tool in body.get("tools") or []}


def delegate(*agents: str) -> Reply:
    calls = [(agent, json.dumps({"agent": agent, "task": f"task of {agent}"})) for agent in agents]
    return Reply(calls=[Call("switch_to_subagent", arguments, f"call_{agent}") for agent, arguments in calls])


async def over(server: Served, thread_id: str, run_id: str) -> str:
    """The run's status once it is over."""
    async with asyncio.timeout(30):
        while (run := await server.sdk().runs.get(thread_id, run_id))["status"] in ("pending", "running"):
            await asyncio.sleep(0.02)
    return str(run["status"])


async def conversations(server: Served, thread_id: str) -> list[list[dict[str, Any]]]:
    """The messages of the thread and of each of its children."""
    async with server.http() as http:
        children = (await http.get(f"/v1/threads/{thread_id}/children")).json()["children"]
    ids = [thread_id, *(child["thread_id"] for child in children)]
    return [(await server.sdk().threads.get_state(one))["values"]["messages"] for one in ids]


def check_calls(messages: list[dict[str, Any]]) -> list[str]:
    """Every call has its one tool message, in order. Returns the calls' ids."""
    calls = [call["id"] for message in messages if message["type"] == "ai" for call in message["tool_calls"]]
    assert [message["tool_call_id"] for message in messages if message["type"] == "tool"] == calls
    return calls


def check_nothing_open(owner_dsn: str) -> None:
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT sum(reserved) FROM quota_days").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM usage_ledger WHERE status = 'reserved'").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM tool_calls WHERE status IN ('pending', 'running')").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM threads WHERE child_status = 'waiting'").fetchone() == (0,)


def two_stall(working: threading.Event) -> Policy:
    """Two specialists search once; then their models fall silent, the first in mid-answer. `working` is set at the second."""
    stalled = 0

    def policy(body: dict[str, Any]) -> Reply:
        nonlocal stalled
        if "finish_subagent" not in names(body):
            return delegate("legal_agent", "marketing_agent")
        if body["messages"][-1]["role"] != "tool":
            return Reply(calls=[Call("search_documents", '{"query": "anything"}', "call_search")])
        stalled += 1
        if stalled == 2:
            working.set()
        return Reply(["never said to its end"], stall_after=2 if stalled == 1 else 0)

    return policy


async def test_a_run_cancelled_while_two_specialists_work(serving: Serving, owner_dsn: str) -> None:
    working = threading.Event()
    with Upstream(two_stall(working)) as upstream:
        async with serving(upstream) as server:
            client = server.sdk()
            thread = (await client.threads.create())["thread_id"]
            run = await client.runs.create(thread, "supervisor", input=ASKED)
            assert await asyncio.to_thread(working.wait, 30)
            await client.runs.cancel(thread, run["run_id"], wait=True)
            assert await over(server, thread, run["run_id"]) == "interrupted"
            parent, *children = await conversations(server, thread)
            assert check_calls(parent) == ["call_legal_agent", "call_marketing_agent"]
            told = [json.loads(message["content"]) for message in parent if message["type"] == "tool"]
            assert [result["error"]["code"] for result in told] == ["cancelled", "cancelled"]
            assert [check_calls(child) for child in children] == [["call_search"], ["call_search"]]
            check_nothing_open(owner_dsn)

            upstream.policy = fixed("here again")
            values = await client.runs.wait(thread, "supervisor", input=ASKED)
            assert "here again" in str(values["messages"][-1]["content"])
            check_calls(values["messages"])
            # what the model is shown of the cancelled turn is well-formed, and the user's question is in it
            sent = upstream.requests[-1]["messages"]
            assert [message["role"] for message in sent if message["role"] == "user"] == ["user", "user"]
    assert upstream.disconnects == 2


async def test_a_run_cancelled_within_a_tool(serving: Serving, owner_dsn: str) -> None:
    """The tool waits for a lock on the notes; the specialist's call and the supervisor's are both closed."""
    blocker = psycopg.connect(owner_dsn)

    def policy(body: dict[str, Any]) -> Reply:
        if "finish_subagent" not in names(body):
            return delegate("legal_agent")
        blocker.execute("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
        return Reply(calls=[Call("save_organization_note", json.dumps({"text": NOTE}), "call_save")])

    with blocker, Upstream(policy) as upstream:
        async with serving(upstream) as server:
            client = server.sdk()
            thread = (await client.threads.create())["thread_id"]
            run = await client.runs.create(thread, "supervisor", input=ASKED)
            await started(owner_dsn, "call_save")
            await client.runs.cancel(thread, run["run_id"], wait=True)
            blocker.rollback()
            parent, child = await conversations(server, thread)
            assert check_calls(parent) == ["call_legal_agent"]
            assert check_calls(child) == ["call_save"]
            check_nothing_open(owner_dsn)
            with psycopg.connect(owner_dsn) as conn:
                assert conn.execute("SELECT count(*) FROM notes").fetchone() == (0,)
                rows = conn.execute("SELECT name, status, result->'error'->>'code' FROM tool_calls").fetchall()
            assert ("save_organization_note", "failed", "cancelled") in rows


async def started(owner_dsn: str, tool_call_id: str) -> None:
    """Wait until the call waits for its lock."""
    async with asyncio.timeout(30), await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as conn:
        while True:
            calls = await conn.execute("SELECT FROM tool_calls WHERE tool_call_id = %s", [tool_call_id])
            waiting = await conn.execute("SELECT FROM pg_locks WHERE NOT granted")
            if calls.rowcount and waiting.rowcount:
                return
            await asyncio.sleep(0.02)


async def test_a_reader_that_leaves_ends_the_run_only_where_asked(serving: Serving, owner_dsn: str) -> None:
    working = threading.Event()
    with Upstream(two_stall(working)) as upstream:
        async with serving(upstream) as server:
            client = server.sdk()
            thread = (await client.threads.create())["thread_id"]
            body = {"assistant_id": "supervisor", "input": ASKED, "on_disconnect": "cancel"}
            async with server.http() as http:
                async with http.stream("POST", f"/threads/{thread}/runs/stream", json=body) as answer:
                    run_id = answer.headers["content-location"].rsplit("/", 1)[1]
                    assert await asyncio.to_thread(working.wait, 30)
            assert await over(server, thread, run_id) == "interrupted"
            for messages in await conversations(server, thread):
                check_calls(messages)
            check_nothing_open(owner_dsn)

            again = threading.Event()
            upstream.policy = held(again)
            body["on_disconnect"] = "continue"
            async with server.http() as http:
                async with http.stream("POST", f"/threads/{thread}/runs/stream", json=body) as answer:
                    run_id = answer.headers["content-location"].rsplit("/", 1)[1]
            assert (await client.runs.get(thread, run_id))["status"] in ("pending", "running")
            again.set()
            assert await over(server, thread, run_id) == "success"


def held(released: threading.Event) -> Policy:
    def policy(body: dict[str, Any]) -> Reply:
        released.wait(30)
        return Reply(["said to nobody"])

    return policy
