"""What a server lists, within the limits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.errors import InvalidInput
from domain.mcp import McpReason, McpServer, McpToolDefinition, digest
from domain.text import clean, clean_json
from providers.json_schema import check_schema
from tools.mcp.failures import Failed, garbled, timed_out
from tools.mcp.names import exposed_names
from tools.mcp.session import Session
from tools.mcp.sessions import McpLimits

if TYPE_CHECKING:
    from mcp import ClientSession, types

MAX_PAGES = 50
MAX_LISTED = 2000
"""Tools that are counted; no more pages are asked for after them."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The tools that can be looked at, how many there are, and what is to be told of it."""

    tools: list[McpToolDefinition]
    total: int
    reason: McpReason | None


async def list_tools(session: Session, limits: McpLimits) -> Listed:
    """Ask the server for its tools, page by page, within its seconds to connect. Raises Failed, or mcp.McpError."""
    seconds = session.server.connect_seconds or limits.connect_seconds
    deadline = time.monotonic() + seconds
    found: list[types.Tool] = []
    cursor: str | None = None
    opened = await session.initialized()
    if opened.capabilities.tools is None:
        return Listed(
            [], 0, McpReason(code="no_tools", message=f"The MCP server '{session.server.name}' has no tools.")
        )
    for _ in range(MAX_PAGES):
        left = deadline - time.monotonic()
        if left <= 0:
            raise Failed(timed_out(seconds, "list its tools"))
        page = await session.ask(_page(cursor), left, "list its tools")
        found += page.tools
        if not page.nextCursor or len(found) >= MAX_LISTED:
            break
        if page.nextCursor == cursor:
            raise Failed(garbled("the same page again"))
        cursor = page.nextCursor
    return await asyncio.to_thread(select, session.server, found, limits)  # judging many large schemas takes seconds


def _page(cursor: str | None) -> Any:
    async def ask(session: ClientSession) -> types.ListToolsResult:
        from mcp import types

        return await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))

    return ask


def select(server: McpServer, found: Sequence[types.Tool], limits: McpLimits) -> Listed:
    """Of the tools found those that are wanted, as many as there may be, each judged."""
    tools = list({tool.name: tool for tool in reversed(found)}.values())[::-1]
    total = len(tools)
    missing: list[str] = []
    if server.only is not None:
        by_name = {tool.name: tool for tool in tools}
        missing = [name for name in server.only if name not in by_name]
        tools = [by_name[name] for name in server.only if name in by_name]
    kept = tools[: limits.max_tools]
    names = exposed_names(server.name, [tool.name for tool in kept])
    reason = None
    if len(kept) < len(tools):
        reason = McpReason(
            code="too_many_tools",
            message=f"The MCP server '{server.name}' lists {len(tools)} tools; the first {len(kept)} are used. Name the "
            "wanted ones in `only`.",
        )
    elif missing:
        reason = McpReason(
            code="missing_tools",
            message=f"The MCP server '{server.name}' has no tool {', '.join(missing[:10])}; correct `only`.",
        )
    return Listed([_definition(tool, names[tool.name], limits) for tool in kept], total, reason)


def _definition(tool: types.Tool, exposed: str, limits: McpLimits) -> McpToolDefinition:
    described = tool.model_dump(mode="json", by_alias=True, include={"name", "title", "description", "inputSchema"})
    hints = tool.annotations
    described["annotations"] = hints.model_dump(mode="json") if hints else None
    schema = clean_json({"type": "object", **tool.inputSchema})
    problem = _problem(schema, tool.description or "", limits)
    return McpToolDefinition(
        name=clean(tool.name)[:500],
        exposed=exposed,
        title=clean(tool.title)[:200] if tool.title else None,
        description=clean(tool.description or tool.title or tool.name)[: limits.max_description_chars],
        parameters=schema if problem is None else {},
        side_effect=not (hints is not None and hints.readOnlyHint is True),
        idempotent=hints is not None and hints.idempotentHint is True,
        sha256=digest(described),
        problem=problem,
    )


def _problem(schema: dict[str, Any], description: str, limits: McpLimits) -> str | None:
    if len(description) > limits.max_description_chars:
        return f"Its description has {len(description)} characters; at most {limits.max_description_chars} are taken."
    try:
        size = len(json.dumps(schema, ensure_ascii=False))
        if size > limits.max_schema_chars:
            return f"Its schema has {size} characters; at most {limits.max_schema_chars} are taken."
        if schema["type"] != "object":
            return "Its schema is not of the type object."
        # an older draft is named by many and written by few: what matters is whether arguments can be checked against it
        check_schema({key: value for key, value in schema.items() if key != "$schema"}, "schema")
    except InvalidInput as wrong:
        return f"Its schema can't be used: {wrong.message[:300]}"
    except RecursionError:
        return "Its schema is nested too deeply."
    return None
