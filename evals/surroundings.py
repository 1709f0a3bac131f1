"""What cases need beside the product: a web search and MCP servers, as stand-ins over real HTTP on this machine.

The web search speaks Tavily's API and finds the pages of the case whose question the query is most like. Each MCP server is at
`/mcp/CASE` and is added to the organisation of its case.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any

import httpx
import uvicorn
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from domain.settings import Settings
from evals.cases import Case, Page, RemoteTool
from evals.conversation import fold

KEY = "tvly-evals"
LOOPBACK = "127.0.0.0/8"
STARTUP_SECONDS = 20


class Surroundings:
    """The stand-ins, up while the block runs; `environ` tells the product where they are."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = [case for case in cases if case.needs is not None]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._url = ""

    @property
    def environ(self) -> dict[str, str]:
        """For the process of the product."""
        if not self._url:
            return {}
        told = {"TAVILY_API_KEY": KEY, "TAVILY_BASE_URL": self._url}
        if "mcp_allowed_networks" in Settings.model_fields:
            told["CONSILIUM_MCP_ALLOWED_NETWORKS"] = LOOPBACK
        return told

    def __enter__(self) -> Surroundings:
        if not self._cases:
            return self
        config = uvicorn.Config(_app(self._cases), host="127.0.0.1", port=0, log_level="error", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="surroundings", daemon=True)
        self._thread.start()
        started = time.monotonic()
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() - started > STARTUP_SECONDS:
                raise RuntimeError("the stand-ins for web search and MCP did not start")
            time.sleep(0.02)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(STARTUP_SECONDS)

    async def prepare(self, http: httpx.AsyncClient, case: Case) -> str | None:
        """Make ready what a case needs, for the organisation of this client. Gives the reason where that can't be had.
        Raises RuntimeError where it should be there and isn't."""
        if case.needs == "mcp":
            return await self._register(http, case)
        tools = (await http.get("/v1/tools")).json()["tools"]
        found = next((tool for tool in tools if tool["name"] == case.needs), None)
        if found is None:
            return f"this server has no tool {case.needs}"
        return None if found["available"] else f"{case.needs}: {found['unavailable_reason']}"

    async def _register(self, http: httpx.AsyncClient, case: Case) -> str | None:
        if (await http.get("/v1/mcp/servers")).status_code == 404:
            return "this server has no MCP registry (/v1/mcp/servers)"
        added = await http.post("/v1/mcp/servers", json={"name": "harbour", "url": f"{self._url}/mcp/{case.id}/"})
        if added.status_code != 201 or added.json()["state"] != "ready":
            raise RuntimeError(f"the MCP server of {case.id} could not be added: {added.text[:500]}")
        return None


def found(cases: Sequence[Case], query: str) -> tuple[Page, ...]:
    """The pages of the case whose question shares most words with the query; none where it shares none."""
    words = set(fold(query).split())
    shared = {case.id: len(words & set(fold(case.question).split())) for case in cases if case.pages}
    best = max(shared, key=lambda name: shared[name], default=None)
    if best is None or shared[best] == 0:
        return ()
    return next(case.pages for case in cases if case.id == best)


def _app(cases: Sequence[Case]) -> Starlette:
    managers = {
        case.id: StreamableHTTPSessionManager(_mcp(case.tools), json_response=True, stateless=True)
        for case in cases
        if case.tools
    }

    async def search(request: Request) -> JSONResponse:
        asked = await request.json()
        pages = found(cases, str(asked.get("query", "")))
        results = [
            {"title": page.title, "url": page.url, "content": page.content, "score": 0.9, "raw_content": None}
            for page in pages
        ]
        return JSONResponse(
            {"query": asked.get("query"), "answer": None, "images": [], "results": results, "response_time": 0.1}
        )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for manager in managers.values():
                await stack.enter_async_context(manager.run())
            yield

    mounted = [Mount(f"/mcp/{name}", app=manager.handle_request) for name, manager in managers.items()]
    return Starlette(routes=[Route("/search", search, methods=["POST"]), *mounted], lifespan=lifespan)


def _mcp(tools: Sequence[RemoteTool]) -> Server[Any, Any]:
    server: Server[Any, Any] = Server("evals")
    schema = {"type": "object", "properties": {"query": {"type": "string"}}, "additionalProperties": False}

    async def list_tools() -> list[types.Tool]:
        reads = types.ToolAnnotations(readOnlyHint=True)
        return [
            types.Tool(name=tool.name, description=tool.description, inputSchema=schema, annotations=reads)
            for tool in tools
        ]

    async def call_tool(name: str, _: dict[str, Any]) -> list[types.ContentBlock]:
        return [types.TextContent(type="text", text=next(tool.result for tool in tools if tool.name == name))]

    server.list_tools()(list_tools)  # type: ignore[no-untyped-call]
    server.call_tool()(call_tool)
    return server
