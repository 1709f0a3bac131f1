"""Tools of MCP servers in conversations: real servers as processes, added through the API, called by agents in turns."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from tests.acceptance.conftest import Serving
from tests.mcp_servers.processes import LOOPBACK, office
from tests.serving import Served
from tests.upstream.reply import Call, Policy, Reply
from tests.upstream.server import Upstream


def calling(name: str, **arguments: Any) -> Policy:
    """A model that calls the tool once and repeats what came of it."""

    def policy(body: dict[str, Any]) -> Reply:
        last = body["messages"][-1]
        if last["role"] != "tool":
            return Reply(calls=[Call(name, json.dumps(arguments))])
        told = json.loads(last["content"])
        return Reply([told["content"] if told["status"] == "success" else f"error {told['error']['code']}"])

    return policy


def offered(body: dict[str, Any]) -> set[str]:
    return {tool["function"]["name"] for tool in body.get("tools", [])}


async def add(server: Served, url: str, name: str = "office", **more: Any) -> dict[str, Any]:
    async with server.http() as http:
        answer = await http.post("/v1/mcp/servers", json={"name": name, "url": url, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def view(server: Served, server_id: str) -> dict[str, Any]:
    async with server.http() as http:
        return dict((await http.get(f"/v1/mcp/servers/{server_id}")).json())


async def until(server: Served, server_id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The server's view, once it is as wanted: what happens in the background is waited for, not how long."""
    async with asyncio.timeout(20):
        while not wanted(seen := await view(server, server_id)):
            await asyncio.sleep(0.05)
    return seen


async def turn(server: Served, text: str = "How many chairs?", user: str = "ann") -> str:
    asked: Any = {"messages": [{"role": "user", "content": text}]}
    ended: Any = await server.sdk(user=user).runs.wait(None, "supervisor", input=asked)
    return str(ended["messages"][-1]["content"][0]["text"])


async def test_an_agent_calls_a_tool_of_a_server_that_was_just_added(serving: Serving) -> None:
    with Upstream(calling("office__stock", article="chairs")) as upstream:
        async with office() as program, serving(upstream, **LOOPBACK) as server:
            added = await add(server, program.url, headers={"Authorization": "Bearer a-secret-of-theirs"})
            assert (added["state"], added["reason"], added["scope"]) == ("ready", None, "organization")
            assert added["header_names"] == ["Authorization"]
            assert {tool["exposed"] for tool in added["tools"]} >= {"office__stock", "office__wait"}
            sdk = server.sdk()
            thread = (await sdk.threads.create())["thread_id"]
            await sdk.runs.wait(
                thread, "supervisor", input={"messages": [{"role": "user", "content": "How many chairs?"}]}
            )
            values: Any = (await sdk.threads.get_state(thread))["values"]
            assert values["messages"][-1]["content"][0]["text"] == "chairs: 42 in stock"
            assert "office__stock" in offered(upstream.requests[0])
            async with server.http() as http:
                [record] = (await http.get(f"/v1/threads/{thread}/tool_calls")).json()["tool_calls"]
                tools = {tool["name"]: tool for tool in (await http.get("/v1/tools")).json()["tools"]}
            assert (record["name"], record["status"]) == ("office__stock", "succeeded")
            assert record["result"]["content"] == "chairs: 42 in stock"
            stock = tools["office__stock"]
            assert (stock["server"], stock["available"], stock["side_effect"]) == ("office", True, False)
            assert tools["office__wait"]["side_effect"] is True
            assert "a-secret-of-theirs" not in json.dumps([added, values, tools, upstream.requests])
            # another organisation has none of it
            async with server.http("globex") as http:
                assert "office" not in (await http.get("/v1/mcp/servers")).text
                others = {tool["name"] for tool in (await http.get("/v1/tools")).json()["tools"]}
            assert "office__stock" not in others


async def test_killed_in_the_middle_of_a_call_it_costs_that_call_only(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        if body["messages"][-1]["role"] != "tool":
            calls = [Call("office__die", "{}", "a"), Call("shop__stock", '{"article": "desks"}', "b")]
            return Reply(calls=calls)
        results = [json.loads(m["content"]) for m in body["messages"] if m["role"] == "tool"]
        return Reply(["; ".join(one.get("content") or one["error"]["code"] for one in results)])

    with Upstream(policy) as upstream:
        async with office() as program, office() as shop, serving(upstream, **LOOPBACK) as server:
            added = await add(server, program.url)
            await add(server, shop.url, "shop")
            began = time.monotonic()
            assert await turn(server) == "tool_unavailable; desks: 42 in stock"
            assert time.monotonic() - began < 10
            # the registry finds out by itself, and its tools are no longer offered
            gone = await until(server, added["server_id"], lambda seen: seen["state"] == "unreachable")
            assert gone["reason"]["code"] == "unreachable"
            await turn(server)
            assert "office__stock" not in offered(upstream.requests[-1])
            assert "shop__stock" in offered(upstream.requests[-1])
            async with office("streamable_http", "--port", str(program.port)):
                async with server.http() as http:
                    back = (await http.post(f"/v1/mcp/servers/{added['server_id']}/refresh")).json()
                assert back["state"] == "ready"
                await turn(server)
                assert "office__stock" in offered(upstream.requests[-2])
