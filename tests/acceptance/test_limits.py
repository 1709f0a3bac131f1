"""The limits of a turn that test_children.py does not cover: delegations, the size of a result, a child's own limits."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import Serving
from tests.serving import Served
from tests.upstream.reply import Call, Policy, Reply
from tests.upstream.server import Upstream

LONG = "# Report\n\n" + "\n\n".join(
    f"The delivery number {n} was late by {n} days and was penalised." for n in range(200)
)


def names(body: dict[str, Any]) -> set[str]:
    return {tool["function"]["name"] for tool in body.get("tools") or []}


async def ask(server: Served, text: str) -> tuple[str, dict[str, Any]]:
    """A new thread and the values its first turn left."""
    thread = (await server.sdk().threads.create())["thread_id"]
    asked = {"messages": [{"role": "user", "content": text}]}
    values = await server.sdk().runs.wait(thread, "supervisor", input=asked)
    assert "__error__" not in values, values
    return thread, dict(values)


def results(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(message["content"]) for message in values["messages"] if message["type"] == "tool"]


def check_calls(values: dict[str, Any]) -> None:
    """Every call has exactly one tool message; a refusal comes before the results of the same step."""
    calls = [call["id"] for m in values["messages"] if m["type"] == "ai" for call in m["tool_calls"]]
    assert sorted(m["tool_call_id"] for m in values["messages"] if m["type"] == "tool") == sorted(calls)


async def children(server: Served, thread_id: str) -> list[dict[str, Any]]:
    async with server.http() as http:
        found: list[dict[str, Any]] = (await http.get(f"/v1/threads/{thread_id}/children")).json()["children"]
    return found


def delegating(count: int) -> Policy:
    """Asks `count` specialists at once, again and again while it may."""
    steps = 0

    def policy(body: dict[str, Any]) -> Reply:
        nonlocal steps
        if "finish_subagent" in names(body):
            return Reply(calls=[Call("finish_subagent", '{"summary": "this is my part"}', "call_finish")])
        if "switch_to_subagent" not in names(body):
            return Reply(["this is what I have"])
        steps += 1
        arguments = json.dumps({"agent": "legal_agent", "task": "look again"})
        return Reply(calls=[Call("switch_to_subagent", arguments, f"call_{steps}_{n}") for n in range(count)])

    return policy


@pytest.mark.parametrize("at_once", [1, 3])
async def test_delegations_end_at_their_limit(serving: Serving, at_once: int) -> None:
    with Upstream(delegating(at_once)) as upstream:
        async with serving(upstream, CONSILIUM_LIMITS__MAX_DELEGATIONS="2") as server:
            thread, values = await ask(server, "ask everybody")
            assert "this is what I have" in str(values["messages"][-1]["content"])
            assert values["messages"][-1]["response_metadata"]["stop_reason"] == "max_delegations"
            check_calls(values)
            first = results(values)[:3]
            assert sorted(result["status"] for result in first) == ["error", "success", "success"]
            refused = next(result["error"] for result in first if result["status"] == "error")
            assert "At most 2" in refused["message"]
            assert refused["details"]["limit"] == "max_delegations"
            assert [child["child_status"] for child in await children(server, thread)] == ["completed", "completed"]


async def test_no_delegation_at_all(serving: Serving) -> None:
    with Upstream(delegating(1)) as upstream:
        async with serving(upstream, CONSILIUM_LIMITS__MAX_DELEGATIONS="0") as server:
            _, values = await ask(server, "ask everybody")
            assert "this is what I have" in str(values["messages"][-1]["content"])
    assert not any("switch_to_subagent" in names(body) for body in upstream.requests)


async def test_a_long_result_is_cut_and_says_so(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        if body["messages"][-1]["role"] == "tool":
            return Reply(["read"])
        return Reply(calls=[Call("search_documents", '{"query": "late delivery penalised"}', "call_search")])

    with Upstream(policy) as upstream:
        async with serving(upstream, CONSILIUM_LIMITS__MAX_TOOL_RESULT_CHARS="500") as server:
            await server.upload("report.md", LONG)
            _, values = await ask(server, "go")
            result = results(values)[0]
            assert result["status"] == "success"
            assert result["truncated"] is True
            assert len(result["content"]) <= 500


async def test_a_specialist_at_its_limit_reports_what_it_has(serving: Serving, owner_dsn: str) -> None:
    """The supervisor gets a typed failure with what was found, and answers."""
    count = 0

    def policy(body: dict[str, Any]) -> Reply:
        nonlocal count
        count += 1
        if body["messages"][1]["content"] == "task of the child":
            if "search_documents" in names(body):
                return Reply(calls=[Call("search_documents", '{"query": "x"}', f"call_{count}")])
            return Reply(["this is what it has"])
        if body["messages"][-1]["role"] == "user" and "switch_to_subagent" in names(body):
            arguments = json.dumps({"agent": "legal_agent", "task": "task of the child"})
            return Reply(calls=[Call("switch_to_subagent", arguments, "call_switch")])
        return Reply(["this is what I have"])

    with Upstream(policy) as upstream:
        async with serving(upstream, CONSILIUM_LIMITS__MAX_TOOL_STEPS="2") as server:
            thread, values = await ask(server, "go on for ever")
            check_calls(values)
            child = (await server.sdk().threads.get_state((await children(server, thread))[0]["thread_id"]))["values"]
            check_calls(child)
            assert child["messages"][-1]["response_metadata"]["stop_reason"] == "max_tool_steps"
            told = results(values)[0]
            assert told["error"]["code"] == "max_tool_steps"
            assert told["content"] == "this is what it has"
            assert values["messages"][-1]["response_metadata"]["stop_reason"] == "completed"
            assert "this is what I have" in str(values["messages"][-1]["content"])
    with psycopg.connect(owner_dsn) as conn:
        rows = conn.execute("SELECT child_status FROM threads WHERE parent_thread_id IS NOT NULL").fetchall()
        assert conn.execute("SELECT count(*) FROM tool_calls WHERE status IN ('pending', 'running')").fetchone() == (0,)
    assert rows == [("failed",)]


async def test_wrong_arguments_come_back_to_the_model_which_mends_them(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        last = body["messages"][-1]
        if last["role"] != "tool":
            return Reply(calls=[Call("search_documents", '{"question": "x"}', "call_wrong")])
        if "invalid_tool_arguments" in last["content"]:
            return Reply(calls=[Call("search_documents", '{"query": "x"}', "call_right")])
        return Reply(["found nothing"])

    with Upstream(policy) as upstream:
        async with serving(upstream) as server:
            thread, values = await ask(server, "go")
            check_calls(values)
            wrong, right = results(values)
            assert wrong["error"]["code"] == "invalid_tool_arguments"
            assert "query" in wrong["error"]["message"]
            assert right["status"] == "success"
            assert values["messages"][-1]["response_metadata"]["stop_reason"] == "completed"
            async with server.http() as http:
                calls = (await http.get(f"/v1/threads/{thread}/tool_calls")).json()["tool_calls"]
            assert [(call["tool_call_id"], call["status"]) for call in calls] == [
                ("call_wrong", "failed"),
                ("call_right", "succeeded"),
            ]


async def test_a_child_out_of_time_ends_the_turn(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        if "finish_subagent" in names(body):
            return Reply(["never said"], stall_after=0)
        arguments = json.dumps({"agent": "legal_agent", "task": "take your time"})
        return Reply(calls=[Call("switch_to_subagent", arguments, "call_switch")])

    with Upstream(policy) as upstream:
        async with serving(upstream, CONSILIUM_LIMITS__TURN_SECONDS="1") as server:
            thread, values = await ask(server, "go")
            check_calls(values)
            assert values["messages"][-1]["response_metadata"]["stop_reason"] == "deadline"
            assert [child["child_status"] for child in await children(server, thread)] == ["failed"]
            # the next turn is the supervisor's again
            upstream.policy = lambda body: Reply([f"delegates: {'switch_to_subagent' in names(body)}"])
            asked = {"messages": [{"role": "user", "content": "and now?"}]}
            values = dict(await server.sdk().runs.wait(thread, "supervisor", input=asked))
            assert "delegates: True" in str(values["messages"][-1]["content"])
