"""Specialists asked in one step work at the same time; what becomes of one is its own, and each call has exactly one answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from langgraph_sdk import get_client

from server.auth import issue_token
from storage import embedded
from tests.acceptance.conftest import Serving
from tests.acceptance.test_children import ask, children, delegate, finish, last, names
from tests.processes import free_port, start
from tests.serving import SECRET, settings_for
from tests.upstream.meeting import Crowd, Meeting
from tests.upstream.reply import Call, Reply
from tests.upstream.server import Upstream

ALL = ("legal_agent", "marketing_agent", "business_analyst_agent")
HUGE: dict[str, Any] = {
    "title": {"en": "Huge", "ru": "Огромный"},
    "description": "Nothing.",
    "prompt": "You know too much. " * 2_500,
}


def is_child(body: dict[str, Any]) -> bool:
    return "finish_subagent" in names(body)


def task(body: dict[str, Any]) -> str:
    return str(next(message for message in body["messages"] if message["role"] == "user")["content"])


def policy_for(*agents: str) -> Any:
    """A supervisor that asks these at once, and specialists that report what they were asked."""

    def policy(body: dict[str, Any]) -> Reply:
        if is_child(body):
            return finish(f"done: {task(body)}")
        if last(body)["role"] == "tool":
            return Reply(["all have reported"])
        return delegate(*agents)

    return policy


def results(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The result of every call, in the order of the messages; each has exactly one."""
    found = [m for m in values["messages"] if m["type"] == "tool"]
    calls = [call["id"] for m in values["messages"] if m["type"] == "ai" for call in m.get("tool_calls") or []]
    assert Counter(m["tool_call_id"] for m in found) == Counter(calls)
    return {m["tool_call_id"]: json.loads(m["content"]) for m in found}


async def test_they_are_under_way_at_the_same_time_and_told_apart(serving: Serving) -> None:
    meeting = Meeting(3, is_child)
    with Upstream(policy_for(*ALL)) as upstream:
        upstream.before = meeting
        async with serving(upstream) as server:
            client = server.sdk()
            thread = (await client.threads.create())["thread_id"]
            said: dict[str, set[str]] = defaultdict(set)
            statuses: dict[str, list[str]] = defaultdict(list)
            async for part in client.runs.stream(
                thread,
                "supervisor",
                input={"messages": [{"role": "user", "content": "everything"}]},
                stream_mode=["custom", "updates"],
                stream_subgraphs=True,
            ):
                method, _, namespace = part.event.partition("|")
                if method == "custom" and part.data.get("type") == "delegation":
                    assert part.data["namespace"].split(":")[0] == part.data["agent"]
                    statuses[part.data["namespace"]].append(part.data["status"])
                if method == "updates" and "model" in part.data and namespace:
                    said[namespace] |= {m["name"] for m in part.data["model"]["messages"]}
            assert meeting.met
            assert list(statuses.values()) == [["waiting", "completed"]] * 3
            assert said.keys() == statuses.keys()
            assert sorted((space.split(":")[0], *names) for space, names in said.items()) == [
                (a, a) for a in sorted(ALL)
            ]
            values: Any = (await client.threads.get_state(thread))["values"]
            told = results(values)
            assert list(told) == [f"call_{n}_{agent}" for n, agent in enumerate(ALL)]
            assert [one["content"] for one in told.values()] == [f"done: task of {agent}" for agent in ALL]


async def test_no_more_at_once_than_allowed(serving: Serving) -> None:
    crowd = Crowd(is_child)
    with Upstream(policy_for(*ALL)) as upstream:
        upstream.before = crowd
        async with serving(upstream, CONSILIUM_LIMITS__MAX_PARALLEL="1") as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            told = results(await ask(server, thread, "everything"))
    assert [one["status"] for one in told.values()] == ["success"] * 3
    assert crowd.most == 1


async def test_one_that_fails_costs_the_others_nothing(serving: Serving) -> None:
    """The first can't be asked at all, the second goes round in circles, the third reports."""

    def policy(body: dict[str, Any]) -> Reply:
        if task(body) == "task of marketing_agent":
            if "search_documents" in names(body):
                return Reply(calls=[Call("search_documents", '{"query": "x"}', f"call_{len(body['messages'])}")])
            return Reply(["half an answer"])
        return policy_for("huge_agent", "marketing_agent", "legal_agent")(body)

    limits = {"CONSILIUM_LIMITS__MAX_PROMPT_TOKENS": "4000", "CONSILIUM_LIMITS__MAX_TOOL_STEPS": "2"}
    with Upstream(policy) as upstream:
        async with serving(upstream, **limits) as server:
            async with server.http() as http:
                made = await http.post("/v1/skills", json={"name": "huge_agent", "definition": HUGE})
                assert made.status_code == 201
            thread = (await server.sdk().threads.create())["thread_id"]
            values = await ask(server, thread, "everything")
            told = list(results(values).values())
            assert [one["status"] for one in told] == ["error", "error", "success"]
            assert [one["error"]["code"] for one in told[:2]] == ["too_large", "max_tool_steps"]
            assert told[1]["content"] == "half an answer"
            assert told[2]["content"] == "done: task of legal_agent"
            assert "all have reported" in str(values["messages"][-1]["content"])
            found = {child["agent"]: child["child_status"] for child in await children(server, thread)}
            assert found == {"huge_agent": "failed", "marketing_agent": "failed", "legal_agent": "completed"}


async def test_one_of_several_that_asks_back_reports_to_the_supervisor(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        if is_child(body) and "legal" in task(body):
            return Reply(["Which contract?"])
        if "more?" in str(last(body)["content"]):
            return Reply(["main speaks"])
        return policy_for("legal_agent", "marketing_agent")(body)

    with Upstream(policy) as upstream:
        async with serving(upstream) as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            told = results(await ask(server, thread, "everything"))
            assert [one["content"] for one in told.values()] == ["Which contract?", "done: task of marketing_agent"]
            assert {child["child_status"] for child in await children(server, thread)} == {"completed"}
            values = await ask(server, thread, "more?")
            assert "main speaks" in str(values["messages"][-1]["content"])


async def test_one_consultation_is_not_asked_twice_at_once(serving: Serving) -> None:
    known = ""

    def policy(body: dict[str, Any]) -> Reply:
        if not known or is_child(body) or last(body)["role"] == "tool":
            return policy_for("legal_agent")(body)
        again = json.dumps({"agent": "legal_agent", "task": "again", "child_thread_id": known})
        return Reply(calls=[Call("switch_to_subagent", again, f"call_again_{n}") for n in range(2)])

    with Upstream(policy) as upstream:
        async with serving(upstream) as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            await ask(server, thread, "first")
            known = (await children(server, thread))[0]["thread_id"]
            told = results(await ask(server, thread, "second"))
            assert told["call_again_0"]["status"] == "success"
            assert told["call_again_1"]["error"]["code"] == "invalid_tool_arguments"


async def test_a_cancel_stops_all_of_them(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        return Reply(["so far "] * 5, stall_after=1) if is_child(body) else policy_for(*ALL)(body)

    with Upstream(policy) as upstream:
        async with serving(upstream) as server:
            client = server.sdk()
            thread = (await client.threads.create())["thread_id"]
            asked = {"messages": [{"role": "user", "content": "everything"}]}
            run = await client.runs.create(thread, "supervisor", input=asked)
            async with asyncio.timeout(20):
                while sum(map(is_child, upstream.requests)) < 3:
                    await asyncio.sleep(0.01)
            await client.runs.cancel(thread, run["run_id"], wait=True)
            await upstream.quiet()
            assert upstream.disconnects == 3
            state: Any = await client.threads.get_state(thread)
            assert {one["error"]["code"] for one in results(state["values"]).values()} == {"cancelled"}
            assert {child["child_status"] for child in await children(server, thread)} == {"failed"}


async def test_what_one_has_read_keeps_the_rest_of_the_turn_on_the_premises(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        if is_child(body):
            return finish(f"done: {task(body)}")
        if last(body)["role"] == "tool":
            return Reply(["all have reported"])
        calls = [("legal_agent", "penalty for late delivery"), ("marketing_agent", "newsletter")]
        return Reply(
            calls=[
                Call("switch_to_subagent", json.dumps({"agent": agent, "task": about}), f"call_{agent}")
                for agent, about in calls
            ]
        )

    with Upstream(policy) as cloud, Upstream(policy) as local:
        async with serving(cloud, local=local) as server:
            document = await server.upload("contract.md", "# Contract\n\nThe penalty for late delivery is 0.1 %.\n")
            async with server.http() as http:
                labelled = await http.patch(f"/v1/documents/{document}", json={"labels": ["local_only"]})
                assert labelled.status_code == 200
            thread = (await server.sdk().threads.create())["thread_id"]
            told = results(await ask(server, thread, "tell me everything"))
            assert [one["status"] for one in told.values()] == ["success", "success"]
    in_cloud, on_premises = [[task(body) for body in one.requests] for one in (cloud, local)]
    assert sorted(in_cloud) == ["newsletter", "tell me everything"]
    assert sorted(on_premises) == ["penalty for late delivery", "tell me everything"]
    assert "0.1 %" not in json.dumps(cloud.requests)


class OneIsHeld:
    """The legal agent reports at once; the marketing agent is held back until `released`."""

    def __init__(self) -> None:
        self.asked, self.released = threading.Event(), threading.Event()

    async def __call__(self, body: dict[str, Any]) -> None:
        if is_child(body) and "marketing" in task(body):
            self.asked.set()
            await asyncio.to_thread(self.released.wait, 40)


async def test_after_a_crash_only_the_unfinished_goes_on(owner_dsn: str, tmp_path: Path) -> None:
    port, held = free_port(), OneIsHeld()
    with Upstream(policy_for("legal_agent", "marketing_agent")) as upstream:
        upstream.before = held
        environ = {
            "DATABASE_URL": owner_dsn,
            "CONSILIUM_DATABASE_APP_URL": embedded.application_dsn(owner_dsn, user="consilium_app"),
            "CONSILIUM_DATA_DIR": str(tmp_path),
            "CONSILIUM_JWT_SECRET": SECRET,
            "CONSILIUM_PORT": str(port),
            "CONSILIUM_LEASE_SECONDS": "1",
            "CONSILIUM_LOG_LEVEL": "error",
            "OPENAI_BASE_URL": upstream.openai_url,
        }
        token = issue_token(settings_for(owner_dsn, tmp_path), "acme", "ann", ["admin"], timedelta(hours=1))
        headers = {"Authorization": f"Bearer {token}"}
        client = get_client(url=f"http://127.0.0.1:{port}", api_key=None, headers=headers)
        first = await start(environ)
        try:
            thread = (await client.threads.create())["thread_id"]
            asked = {"messages": [{"role": "user", "content": "everything"}]}
            run = await client.runs.create(thread, "supervisor", input=asked)
            assert await asyncio.to_thread(held.asked.wait, 30)
            with psycopg.connect(owner_dsn, autocommit=True) as conn:
                async with asyncio.timeout(30):
                    while not has_reported(conn, "legal_agent"):
                        await asyncio.sleep(0.05)
        finally:
            first.kill()
            first.wait()
            held.released.set()
        second = await start(environ)
        try:
            async with asyncio.timeout(40):
                while (known := await client.runs.get(thread, run["run_id"]))["status"] in ("pending", "running"):
                    await asyncio.sleep(0.05)
            assert known["status"] == "success"
            state: Any = await client.threads.get_state(thread)
        finally:
            second.terminate()
            second.wait()
    told = results(state["values"])
    assert [one["content"] for one in told.values()] == ["done: task of legal_agent", "done: task of marketing_agent"]
    asked_of = Counter(task(body) for body in upstream.requests if is_child(body))
    assert asked_of["task of legal_agent"] == 1
    assert asked_of["task of marketing_agent"] >= 2, "the one that was under way is asked again"


def has_reported(conn: psycopg.Connection[Any], agent: str) -> bool:
    """Whether the log that would be left by a crash now tells of the agent's end."""
    rows = conn.execute("SELECT events FROM run_events").fetchall()
    return any(
        event["method"] == "custom"
        and (event["data"].get("agent"), event["data"].get("status")) == (agent, "completed")
        for (events,) in rows
        for event in events
    )
