"""The MCP server itself: the tools over streamable HTTP or stdio."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import structlog
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import ConsiliumError, ToolError, ToolTimedOut
from domain.mcp import IDEMPOTENCY_KEY
from tools.amocrm import leads, lookup, notes, people, summary, tasks
from tools.amocrm.client import TIMEOUT, AmoClient
from tools.amocrm.config import AmoConfig
from tools.amocrm.directory import Directory
from tools.amocrm.pace import Pace
from tools.amocrm.repeats import Repeats
from tools.amocrm.sample import URL, read_sample
from tools.amocrm.tokens import LongLived, Refreshed, Tokens
from tools.amocrm.tool import Crm, CrmTool, Effect
from tools.arguments import validate

NAME: Final = "consilium-amocrm"
CALL_SECONDS: Final = 55.0
"""A call's time, waiting for its turn included; most clients give up after a minute."""
TOOLS: Final[tuple[CrmTool, ...]] = (
    *lookup.TOOLS,
    *summary.TOOLS,
    *leads.TOOLS,
    *people.TOOLS,
    *tasks.TOOLS,
    *notes.TOOLS,
)
MAX_KEY: Final = 200
"""Characters of an idempotency key."""
log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_crm(config: AmoConfig) -> AsyncIterator[Crm]:
    """The account, with its connections open while the block runs. Nothing is asked of amoCRM yet."""
    if config.sample:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(read_sample())) as http:
            client = AmoClient(URL, http, LongLived("sample"), Pace(per_window=1000))
            yield Crm(client, Directory(client), None)
        return
    async with httpx.AsyncClient(timeout=TIMEOUT, headers={"User-Agent": NAME}) as http:
        client = AmoClient(config.base_url, http, _tokens(config, http), Pace())
        yield Crm(client, Directory(client), config.base_url)


def _tokens(config: AmoConfig, http: httpx.AsyncClient) -> Tokens:
    if config.token is not None:
        return LongLived(config.token)
    assert config.oauth is not None, "the configuration has one of the two"
    return Refreshed(config.oauth, config.base_url, http)


def make_server(crm: Crm, version: str) -> Server[Any, Any]:
    """The MCP server over one account. A failed call is a result with `isError`, its text `{"error": {code, message, details}}`."""
    server: Server[Any, Any] = Server(
        NAME,
        version,
        "An amoCRM account: leads, pipelines, contacts, companies, tasks, notes. Money is in whole units.",
    )
    tools = {tool.full_name: tool for tool in TOOLS}
    repeats: Repeats[types.CallToolResult] = Repeats()

    async def list_tools() -> list[types.Tool]:
        return [_described(tool) for tool in tools.values()]

    async def call_tool(name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        try:
            if name not in tools:
                raise ToolError(f"There is no tool '{name[:100]}' here; use one of: {', '.join(tools)}.")
            given = validate(name, tools[name].parameters, arguments)
        except ConsiliumError as wrong:
            return _error(wrong)
        key = None if tools[name].effect == "read" else _idempotency_key(server)
        return await repeats.once(key and f"{name} {key}", lambda: carry_out(tools[name], given))

    async def carry_out(tool: CrmTool, given: dict[str, Any]) -> types.CallToolResult:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return _result(await tool.run(crm, given), failed=False)
        except TimeoutError:
            return _error(_too_long(tool))
        except ConsiliumError as failed:
            return _error(failed)
        except Exception:  # a fault of ours costs its call, not the server; the trace is in the log
            log.exception("tool crashed", tool=tool.full_name)
            return _error(ToolError(f"{tool.full_name} failed unexpectedly; try another way."))

    server.list_tools()(list_tools)  # type: ignore[no-untyped-call]
    server.call_tool(validate_input=False)(call_tool)
    return server


def _idempotency_key(server: Server[Any, Any]) -> str | None:
    """What the caller knows its call by, where it says so."""
    meta = server.request_context.meta
    key = (meta.model_extra or {}).get(IDEMPOTENCY_KEY) if meta is not None else None
    return key if isinstance(key, str) and 0 < len(key) <= MAX_KEY else None


def _too_long(tool: CrmTool) -> ToolTimedOut:
    repair = "ask for less." if tool.effect == "read" else "look whether it was carried out before you repeat it."
    return ToolTimedOut(f"{tool.full_name} took longer than {CALL_SECONDS:g} s; {repair}", seconds=CALL_SECONDS)


_HINTS: Mapping[Effect, dict[str, bool]] = {
    "read": {"readOnlyHint": True},
    "add": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False},
    "change": {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True},
}


def _described(tool: CrmTool) -> types.Tool:
    hints = types.ToolAnnotations(title=tool.title, openWorldHint=True, **_HINTS[tool.effect])
    return types.Tool(
        name=tool.full_name,
        title=tool.title,
        description=tool.description,
        inputSchema=tool.parameters,
        annotations=hints,
    )


def _result(value: dict[str, Any], *, failed: bool) -> types.CallToolResult:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structuredContent=value, isError=failed
    )


def _error(failed: ConsiliumError) -> types.CallToolResult:
    told = {"code": failed.code, "message": failed.message, "details": failed.details}
    return _result({"error": told}, failed=True)


async def run_stdio(config: AmoConfig, version: str) -> None:
    """Serve one client on stdin and stdout until it closes them."""
    async with open_crm(config) as crm, stdio_server() as (read, write):
        server = make_server(crm, version)
        await server.run(read, write, server.create_initialization_options())


def make_app(config: AmoConfig, version: str) -> Starlette:
    """`/mcp` (streamable HTTP, without sessions, so that any replica answers) and `/health`.

    With `mcp_token` clients must show it; without, only names of this machine are accepted as the host, so that no web page
    can reach it through a browser.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_crm(config) as crm:
            local = ["127.0.0.1:*", "localhost:*", "[::1]:*"]
            manager = StreamableHTTPSessionManager(
                make_server(crm, version),
                json_response=True,
                stateless=True,
                security_settings=TransportSecuritySettings(
                    enable_dns_rebinding_protection=config.mcp_token is None,
                    allowed_hosts=local,
                    allowed_origins=[f"http://{host}" for host in local],
                ),
            )
            async with manager.run():
                app.state.manager = manager
                yield

    async def mcp(scope: Scope, receive: Receive, send: Send) -> None:
        await scope["app"].state.manager.handle_request(scope, receive, send)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    guarded = mcp if config.mcp_token is None else _guarded(mcp, config.mcp_token)
    return Starlette(routes=[Route("/health", health), Route("/mcp", _Endpoint(guarded))], lifespan=lifespan)


class _Endpoint:
    """An ASGI app for one path: Starlette takes a function for a request handler, and mounts only below a slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _guarded(app: ASGIApp, token: str) -> ASGIApp:
    expected = f"Bearer {token}".encode()

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        shown = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(shown, expected):
            await app(scope, receive, send)
            return
        answer = JSONResponse(
            {"error": "AMOCRM_MCP_TOKEN must be sent as the bearer token"}, 401, {"WWW-Authenticate": "Bearer"}
        )
        await answer(scope, receive, send)

    return guard
