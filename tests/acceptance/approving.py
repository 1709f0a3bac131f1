"""Conversations that wait for approval: what the tests of approvals and of effects share."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from langgraph_sdk.client import LangGraphClient

from tests.acceptance.conftest import Serving
from tests.mcp_servers.processes import LOOPBACK, Crm, crm
from tests.serving import Served
from tests.upstream.reply import Call, Policy, Reply
from tests.upstream.server import Upstream

ANALYST = "business_analyst_agent"
ASKED: Any = {"messages": [{"role": "user", "content": "Add the leads, please."}]}
APPROVE = {"type": "approve"}
REJECT = {"type": "reject", "message": "wrong customer"}


def create(name: str, call_id: str = "a", **more: Any) -> Call:
    return Call("crm__create", json.dumps({"name": name, **more}), call_id)


def edit(args: dict[str, Any], name: str = "crm__create") -> dict[str, Any]:
    return {"type": "edit", "edited_action": {"name": name, "args": args}}


def results(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The tool results a model is shown."""
    return [json.loads(message["content"]) for message in body["messages"] if message["role"] == "tool"]


def told(result: dict[str, Any]) -> str:
    return result["content"] if result["status"] == "success" else result["error"]["code"]


def calling(*calls: Call) -> Policy:
    """An agent that makes these calls in one step, then repeats what came of them."""

    def policy(body: dict[str, Any]) -> Reply:
        if body["messages"][-1]["role"] != "tool":
            return Reply(calls=list(calls))
        return Reply(["; ".join(told(result) for result in results(body))])

    return policy


def delegating(*calls: Call, agents: tuple[str, ...] = (ANALYST,)) -> Policy:
    """A supervisor that asks these specialists, who each make the calls in one step and report what came of them."""

    def policy(body: dict[str, Any]) -> Reply:
        names = {tool["function"]["name"] for tool in body.get("tools") or []}
        seen = results(body)
        if "finish_subagent" in names and not seen:
            return Reply(calls=list(calls))
        if "finish_subagent" in names:
            summary = "; ".join(told(result) for result in seen)
            return Reply(calls=[Call("finish_subagent", json.dumps({"summary": summary}), "done")])
        if body["messages"][-1]["role"] != "tool":
            tasks = [(agent, json.dumps({"agent": agent, "task": "Add the leads."})) for agent in agents]
            return Reply(calls=[Call("switch_to_subagent", task, f"to_{agent}") for agent, task in tasks])
        return Reply(["; ".join(told(result) for result in seen)])

    return policy


@asynccontextmanager
async def office(serving: Serving, tmp_path: Path, policy: Policy) -> AsyncIterator[tuple[Served, Crm, Upstream]]:
    """A server with the CRM, which the analyst asks before it changes."""
    with Upstream(policy) as upstream:
        async with crm(tmp_path / "crm") as program, serving(upstream, **LOOPBACK) as server:
            async with server.http() as http:
                await add_crm(http, program)
            yield server, program, upstream


async def add_crm(http: httpx.AsyncClient, program: Crm) -> None:
    answer = await http.post("/v1/mcp/servers", json={"name": "crm", "url": program.program.url, "agents": [ANALYST]})
    assert answer.status_code == 201, answer.text
    assert answer.json()["state"] == "ready"


async def wait(sdk: LangGraphClient, thread: str, assistant: str = ANALYST, **more: Any) -> Any:
    """The values a run ends with."""
    return await sdk.runs.wait(thread, assistant, **(more or {"input": ASKED}))


async def resume(sdk: LangGraphClient, thread: str, answer: Any, assistant: str = ANALYST) -> Any:
    return await wait(sdk, thread, assistant, command={"resume": answer})


def one(values: Any) -> dict[str, Any]:
    """The only interrupt of a run's values."""
    [interrupt] = values["__interrupt__"]
    return dict(interrupt)


def answer_of(values: Any) -> str:
    """What the agent says in the end. Asserts that every call has its one tool message, in order."""
    check_calls(values["messages"])
    return str(values["messages"][-1]["content"][0]["text"])


def check_calls(messages: list[dict[str, Any]]) -> None:
    calls = [call["id"] for message in messages if message["type"] == "ai" for call in message["tool_calls"]]
    assert [message["tool_call_id"] for message in messages if message["type"] == "tool"] == calls
