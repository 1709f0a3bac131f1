"""Conversations within conversations: delegation, isolation, an active child, the way back, limits. The model is scripted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.conftest import Serving
from tests.serving import Served
from tests.upstream.reply import Call, Policy, Reply
from tests.upstream.server import Upstream

SECRET = "the parent's own secret"


def names(body: dict[str, Any]) -> set[str]:
    return {tool["function"]["name"] for tool in body.get("tools") or []}


def last(body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = body["messages"][-1]
    return message


def delegate(*agents: str, **more: Any) -> Reply:
    calls = [
        Call(
            "switch_to_subagent", json.dumps({"agent": agent, "task": f"task of {agent}", **more}), f"call_{n}_{agent}"
        )
        for n, agent in enumerate(agents)
    ]
    return Reply(calls=calls)


def finish(summary: str) -> Reply:
    return Reply(calls=[Call("finish_subagent", json.dumps({"summary": summary}), f"call_finish_{len(summary)}")])


async def ask(server: Served, thread_id: str, text: str) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    values = await server.sdk().runs.wait(thread_id, "supervisor", input={"messages": [message]})
    assert "__error__" not in values, values
    return dict(values)


async def children(server: Served, thread_id: str) -> list[dict[str, Any]]:
    async with server.http() as http:
        found: list[dict[str, Any]] = (await http.get(f"/v1/threads/{thread_id}/children")).json()["children"]
    return found


async def test_specialists_asked_together_answer_each_call_once_and_see_nothing_else(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        if "finish_subagent" in names(body):
            return finish(f"done: {last(body)['content']}")
        if last(body)["role"] == "tool":
            return Reply(["both have answered"])
        return delegate("legal_agent", "marketing_agent")

    with Upstream(policy) as upstream:
        async with serving(upstream) as server:
            client = server.sdk()
            thread = (await client.threads.create())["thread_id"]
            values = await ask(server, thread, SECRET)
            tool_messages = [m for m in values["messages"] if m["type"] == "tool"]
            assert [m["tool_call_id"] for m in tool_messages] == ["call_0_legal_agent", "call_1_marketing_agent"]
            assert ["task of legal_agent" in m["content"] for m in tool_messages] == [True, False]
            found = await children(server, thread)
            assert {child["agent"]: child["child_status"] for child in found} == {
                "legal_agent": "completed",
                "marketing_agent": "completed",
            }
            state = await client.threads.get_state(found[0]["thread_id"])
            assert SECRET not in json.dumps(state["values"])
            assert [m["type"] for m in state["values"]["messages"]] == ["human", "ai", "tool"]
    of_children = [json.dumps(body) for body in upstream.requests if "finish_subagent" in names(body)]
    assert len(of_children) == 2
    assert not any(SECRET in prompt for prompt in of_children)


def talkative(body: dict[str, Any]) -> Reply:
    """A legal agent that asks back until it is told everything."""
    if "finish_subagent" in names(body):
        if "thirty" in str(last(body)["content"]):
            return finish("The notice period is thirty days.")
        return Reply(["Which contract do you mean?"])
    if any("continued" in str(m["content"]) for m in body["messages"] if m["role"] == "user"):
        return Reply(["main speaks again"])
    return delegate("legal_agent")


async def test_an_active_child_gets_the_next_message_until_it_finishes(serving: Serving) -> None:
    with Upstream(talkative) as upstream:
        async with serving(upstream) as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            first = await ask(server, thread, "What is the notice period?")
            assert first["messages"][-1]["name"] == "legal_agent"
            assert "Which contract" in str(first["messages"][-1]["content"])
            assert [child["child_status"] for child in await children(server, thread)] == ["active"]

            second = await ask(server, thread, "The one of thirty pages.")
            assert "thirty days" in str(second["messages"][-1]["content"])
            found = await children(server, thread)
            assert [child["child_status"] for child in found] == ["completed"]
            state = await server.sdk().threads.get_state(found[0]["thread_id"])
            said = [m["content"] for m in state["values"]["messages"] if m["type"] == "human"]
            assert said == ["task of legal_agent", "The one of thirty pages."]
            answered = [m for m in second["messages"] if m["type"] == "tool"]
            assert len(answered) == 1
            assert "thirty days" in answered[0]["content"]

            third = await ask(server, thread, "continued")
            assert "main speaks again" in str(third["messages"][-1]["content"])


async def test_the_user_can_return_to_the_supervisor(serving: Serving) -> None:
    with Upstream(talkative) as upstream:
        async with serving(upstream) as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            await ask(server, thread, "What is the notice period?")
            async with server.http() as http:
                answer = await http.post(f"/v1/threads/{thread}/return")
                assert answer.status_code == 200
                assert (await http.post(f"/v1/threads/{thread}/return")).status_code == 404
            values = await ask(server, thread, "continued with main")
            assert "main speaks again" in str(values["messages"][-1]["content"])


async def test_a_completed_child_is_continued_with_its_memory(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        if "finish_subagent" in names(body):
            return finish(f"I have heard {sum(m['role'] == 'user' for m in body['messages'])} tasks.")
        if last(body)["role"] == "tool":
            return Reply(["noted"])
        known = str(body["messages"][0]["content"]).partition("child_thread_id ")[2][:36]
        return delegate("legal_agent", **({"child_thread_id": known} if known else {}))

    with Upstream(policy) as upstream:
        async with serving(upstream) as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            await ask(server, thread, "first question")
            values = await ask(server, thread, "second question")
            assert "I have heard 2 tasks." in str([m for m in values["messages"] if m["type"] == "tool"][-1]["content"])
            assert len(await children(server, thread)) == 1


def again_and_again(name: str, arguments: dict[str, Any]) -> Policy:
    """Calls the tool as long as it may, then answers."""
    count = 0

    def policy(body: dict[str, Any]) -> Reply:
        nonlocal count
        count += 1
        if name in names(body):
            return Reply(calls=[Call(name, json.dumps(arguments), f"call_{count}")])
        return Reply(["this is what I have"])

    return policy


@pytest.mark.parametrize(
    ("setting", "value", "policy", "reason"),
    [
        ("MAX_TOOL_STEPS", "2", again_and_again("search_documents", {"query": "x"}), "max_tool_steps"),
        ("MAX_TOOL_ERRORS", "2", again_and_again("search_documents", {"wrong": 1}), "max_tool_errors"),
    ],
)
async def test_a_limit_ends_in_an_honest_answer(
    serving: Serving, setting: str, value: str, policy: Policy, reason: str
) -> None:
    with Upstream(policy) as upstream:
        async with serving(upstream, **{f"CONSILIUM_LIMITS__{setting}": value}) as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            values = await ask(server, thread, "go on for ever")
            assert "this is what I have" in str(values["messages"][-1]["content"])
            assert values["messages"][-1]["response_metadata"]["stop_reason"] == reason
            if reason == "max_tool_errors":
                told = json.loads(next(m for m in values["messages"] if m["type"] == "tool")["content"])
                assert told["status"] == "error"
                assert told["error"]["code"] == "invalid_tool_arguments"


async def test_a_turn_out_of_time_says_so(serving: Serving) -> None:
    with Upstream(again_and_again("search_documents", {"query": "x"})) as upstream:
        upstream.fail("stall", after=0, times=5)
        async with serving(upstream, CONSILIUM_LIMITS__TURN_SECONDS="1") as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            values = await ask(server, thread, "take your time")
            assert values["messages"][-1]["response_metadata"]["stop_reason"] == "deadline"
