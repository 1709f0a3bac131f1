"""`consilium mcp-amocrm` as a process, through the official MCP client on both transports, against a scripted amoCRM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from domain.settings import ROOT
from tests.tools.amocrm import CLIENT, MAIN, TALKS, TOKEN, Amo, serve_amo

COMMAND = (sys.executable, "-m", "server.cli", "mcp-amocrm")
MCP_TOKEN = "a-token-between-the-two-0123456789"
Connect = Callable[..., AbstractAsyncContextManager[ClientSession]]


def environment(amo_url: str, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "AMOCRM_BASE_URL": amo_url, "AMOCRM_TOKEN": TOKEN, **more}


@asynccontextmanager
async def over_stdio(amo: Amo, home: Path, **environ: str) -> AsyncIterator[ClientSession]:
    parameters = StdioServerParameters(
        command=COMMAND[0], args=[*COMMAND[1:], "--transport", "stdio"], env=environment(amo.url, **environ), cwd=home
    )
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


@asynccontextmanager
async def program(amo: Amo, home: Path, *options: str, **environ: str) -> AsyncIterator[str]:
    """The HTTP program; yields the address it prints."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--port", "0", *options, env=environment(amo.url, **environ), cwd=home,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        if not line:
            assert process.stderr is not None
            raise AssertionError((await process.stderr.read()).decode())
        url = line.split()[-1]
        await _ready(url)
        yield url
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode in (0, -signal.SIGTERM)
    assert not [word for word in ("Traceback", TOKEN, MCP_TOKEN) if word in errors.decode()]


async def _ready(url: str) -> None:
    async with httpx.AsyncClient() as http:
        assert (await http.get(url.replace("/mcp", "/health"))).json() == {"status": "ok"}


@asynccontextmanager
async def over_http(amo: Amo, home: Path, **environ: str) -> AsyncIterator[ClientSession]:
    async with program(amo, home, **environ) as url, session_at(url) as session:
        yield session


@asynccontextmanager
async def session_at(url: str, token: str | None = None) -> AsyncIterator[ClientSession]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as http:
        async with streamable_http_client(url, http_client=http) as (read, write, _):
            async with ClientSession(read, write) as session:
                await session.initialize()
                yield session


@pytest.fixture(params=["stdio", "http"])
def connect(request: pytest.FixtureRequest) -> Connect:
    return over_stdio if request.param == "stdio" else over_http


def told(result: CallToolResult) -> dict[str, Any]:
    [content] = result.content
    assert isinstance(content, TextContent)
    value: dict[str, Any] = json.loads(content.text)
    assert value == result.structuredContent
    return value


async def test_the_pipeline_is_read_and_a_lead_moved(connect: Connect, tmp_path: Path) -> None:
    async with serve_amo() as amo, connect(amo, tmp_path) as session:
        month = {"pipeline_id": MAIN, "date_from": "2026-11-01", "date_to": "2026-11-30"}
        summary = told(await session.call_tool("ammo-crm-pipeline_summary", month))
        assert [(one["stage"], one["count"], one["sum"]) for one in summary["pipelines"][0]["stages"]] == [
            ("Первичный контакт", 2, 370_000),
            ("Переговоры", 2, 480_000),
            ("Принимают решение", 1, 600_000),
            ("Успешно реализовано", 1, 700_000),
            ("Закрыто и не реализовано", 1, 90_000),
        ]
        moved = told(await session.call_tool("ammo-crm-leads_update", {"id": 1, "status_id": TALKS}))
        assert moved["after"]["stage"] == "Переговоры"
        assert amo.leads[0]["status_id"] == TALKS
        assert amo.refused == 0


async def test_the_tools_say_what_they_do(connect: Connect, tmp_path: Path) -> None:
    async with serve_amo() as amo, connect(amo, tmp_path) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert {"ammo-crm-entity_get", "ammo-crm-leads_pipelines_get", "ammo-crm-users_get"} <= tools.keys()
        kinds = ("leads", "contacts", "companies", "tasks")
        assert {f"ammo-crm-{kind}_{verb}" for kind in kinds for verb in ("search", "create", "update")} <= tools.keys()
        assert {f"ammo-crm-notes_{verb}" for verb in ("get", "create", "update")} <= tools.keys()
        for name, tool in tools.items():
            hints = tool.annotations
            assert hints is not None
            reads = name.endswith(("_get", "_search", "_summary"))
            assert hints.readOnlyHint is reads
            if not reads:
                assert hints.destructiveHint is name.endswith("_update")
                assert hints.idempotentHint is name.endswith("_update")
            assert tool.inputSchema["additionalProperties"] is False
            assert tool.description
        assert amo.requests == []  # amoCRM is asked when a tool is called


async def test_a_failure_is_a_typed_error_and_costs_its_call_only(connect: Connect, tmp_path: Path) -> None:
    async with serve_amo() as amo, connect(amo, tmp_path) as session:

        async def error(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
            result = await session.call_tool(name, arguments)
            assert result.isError
            found: dict[str, Any] = told(result)["error"]
            return found

        missing = await error("ammo-crm-entity_get", {"entity": "leads", "id": 999})
        assert (missing["code"], missing["details"]["id"]) == ("not_found", "999")
        wrong = await error("ammo-crm-leads_update", {"id": 1, "responsible_user_id": 9})
        assert wrong["code"] == "invalid_tool_arguments"
        assert wrong["details"]["fields"][0]["path"] == "responsible_user_id"
        assert (await error("ammo-crm-leads_search", {"limit": 0}))["code"] == "invalid_tool_arguments"
        assert "ammo-crm-users_get" in (await error("ammo-crm-nothing", {}))["message"]
        amo.token = "another"
        refused = await error("ammo-crm-entity_get", {"entity": "leads", "id": 1})
        assert refused["code"] == "tool_rejected"
        assert TOKEN not in json.dumps(refused)
        amo.token = TOKEN
        amo.answers.append((200, {}, b"<html>"))
        assert (await error("ammo-crm-entity_get", {"entity": "leads", "id": 1}))["code"] == "tool_protocol_error"
        assert told(await session.call_tool("ammo-crm-entity_get", {"entity": "leads", "id": 1}))["item"]["id"] == 1


async def test_calls_at_once_share_the_limit_of_the_account(connect: Connect, tmp_path: Path) -> None:
    async with serve_amo() as amo, connect(amo, tmp_path) as session:
        calls = [session.call_tool("ammo-crm-entity_get", {"entity": "leads", "id": n}) for n in range(1, 11)]
        found = [told(result)["item"]["id"] for result in await asyncio.gather(*calls)]
        assert found == list(range(1, 11))  # one that a busy machine held up may have been refused, and was sent again


async def test_a_call_that_comes_again_under_its_key_is_carried_out_once(connect: Connect, tmp_path: Path) -> None:
    async with serve_amo() as amo, connect(amo, tmp_path) as session:

        async def create(name: str, key: str | None) -> dict[str, Any]:
            meta = {"consilium/idempotency-key": key} if key else None
            return told(await session.call_tool("ammo-crm-leads_create", {"name": name}, meta=meta))

        first, again = await asyncio.gather(create("Гелиос", "one"), create("Гелиос", "one"))
        assert first == again == await create("Гелиос", "one")
        assert (await create("Гелиос", "two")) != first
        assert (await create("Гелиос", None)) != first
        assert len([method for method, *_ in amo.requests if method == "POST"]) == 3


async def test_oauth_is_exchanged_by_the_program(connect: Connect, tmp_path: Path) -> None:
    keys = {f"AMOCRM_{name.upper()}": value for name, value in CLIENT.items()}
    async with serve_amo(token="none yet") as amo:
        async with connect(amo, tmp_path, AMOCRM_TOKEN="", AMOCRM_REFRESH_TOKEN="refresh-1", **keys) as session:
            assert told(await session.call_tool("ammo-crm-users_get", {}))["users"][0]["name"] == "Анна Соколова"
        assert json.loads((tmp_path / ".consilium" / "amocrm-tokens.json").read_text())["refresh_token"] == "refresh-2"


async def test_langchain_reads_the_tools(tmp_path: Path) -> None:
    async with serve_amo() as amo, over_http(amo, tmp_path) as session:
        tools = {tool.name: tool for tool in await load_mcp_tools(session)}
        assert tools["ammo-crm-leads_update"].metadata is not None
        assert tools["ammo-crm-leads_update"].metadata["destructiveHint"] is True
        found = await tools["ammo-crm-users_get"].ainvoke({})
        assert "Анна Соколова" in str(found)


async def test_with_a_token_only_those_who_show_it_come_in(tmp_path: Path) -> None:
    async with serve_amo() as amo, program(amo, tmp_path, "--host", "0.0.0.0", AMOCRM_MCP_TOKEN=MCP_TOKEN) as url:
        async with httpx.AsyncClient() as http:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": MCP_TOKEN}):
                answer = await http.post(url, json={}, headers=headers)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        async with session_at(url, MCP_TOKEN) as session:
            assert told(await session.call_tool("ammo-crm-users_get", {}))["users"]


async def test_without_a_token_no_web_page_comes_in_through_a_browser(tmp_path: Path) -> None:
    async with serve_amo() as amo, program(amo, tmp_path) as url:
        sent = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        async with httpx.AsyncClient() as http:
            rebound = await http.post(url, json=body, headers={**sent, "Host": "evil.example"})
            foreign = await http.post(url, json=body, headers={**sent, "Origin": "https://evil.example"})
        assert (rebound.status_code, foreign.status_code) == (421, 403)


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        ((), {"AMOCRM_TOKEN": ""}, "AMOCRM_TOKEN: is not set"),
        (("--transport", "stdio"), {"AMOCRM_BASE_URL": ""}, "AMOCRM_BASE_URL: is not set"),
        (("--host", "0.0.0.0"), {}, "AMOCRM_MCP_TOKEN"),
        (("--host", "203.0.113.1"), {"AMOCRM_MCP_TOKEN": MCP_TOKEN}, "can't listen there"),
    ],
)
async def test_it_does_not_start_wrongly_set(
    options: tuple[str, ...], environ: dict[str, str], message: str, tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *options, env=environment("https://example.amocrm.ru", **environ), cwd=tmp_path,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, output) == (1, b"")
    assert message in errors.decode()
    assert TOKEN not in errors.decode()
