"""Our side of the protocol as a program, for its conformance suite: `python -m tests.mcp_servers.conformance_client URL`.

It does what an organisation's server goes through: it is listed within the limits, and every tool that may be used is called over the
caller's session. A tool that is withheld or a call that fails is an error of the program.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from domain.ids import OrganizationId, ThreadId, UserId, new_id
from domain.mcp import McpServer, McpToolDefinition
from tools.base import ToolContext
from tools.mcp.addresses import networks
from tools.mcp.listing import list_tools
from tools.mcp.sessions import McpLimits, Sessions
from tools.mcp.tool import McpTool

SAMPLES: dict[str, Any] = {"number": 5, "integer": 5, "string": "hello", "boolean": True, "array": [], "object": {}}


def arguments(tool: McpToolDefinition, schemas: dict[str, Any]) -> dict[str, Any]:
    """A value for each field a call needs; the tool that wants to see another one's schema gets it as models do."""
    if tool.name == "json_schema_echo":
        return {"schema": schemas["json_schema_2020_12_tool"]}
    fields = tool.parameters.get("properties", {})
    return {
        name: SAMPLES.get(fields.get(name, {}).get("type"), "x") for name in tool.parameters.get("required", fields)
    }


async def main(url: str) -> None:
    limits = McpLimits(connect_seconds=10, call_seconds=20)
    sessions = Sessions(limits, networks(["127.0.0.0/8", "::1/128"]), lambda server: None)
    organization = OrganizationId(new_id())
    server = McpServer(
        server_id=new_id(), organization_id=organization, scope="organization", name="suite",
        transport="streamable_http", url=url,
    )  # fmt: skip
    context = ToolContext(organization, UserId("ann"), None, ThreadId(new_id()), agent="main")
    try:
        listed = await list_tools(sessions.get(server, None), limits)
        schemas = {tool.name: tool.parameters for tool in listed.tools}
        for tool in listed.tools:
            assert tool.problem is None, tool
            print(tool.exposed, json.dumps(tool.parameters))
            called = McpTool(server, tool, None, sessions, limits, lambda server, failure: None)
            print((await called.call(context, arguments(tool, schemas))).content)
    finally:
        await sessions.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
