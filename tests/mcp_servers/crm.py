"""An MCP server whose tools change something: `python crm.py DIRECTORY`. Prints its port as the first line.

Each effect is a line of DIRECTORY/effects (tool, arguments, the idempotency key it came with). Where DIRECTORY/hold is, a call that has
had its effect doesn't answer until DIRECTORY/release is there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import ToolAnnotations


def build(directory: Path) -> FastMCP:
    server = FastMCP("crm", log_level="ERROR")

    async def effect(context: Context[Any, Any, Any], tool: str, **arguments: Any) -> str:
        meta = context.request_context.meta
        key = (meta.model_extra or {}).get("consilium/idempotency-key") if meta else None
        with (directory / "effects").open("a") as file:
            file.write(json.dumps({"tool": tool, "arguments": arguments, "key": key}) + "\n")
        while (directory / "hold").exists() and not (directory / "release").exists():
            await asyncio.sleep(0.02)
        return f"{tool}: done"

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True), description="Finds leads.")
    def find(name: str) -> str:
        return f"no lead {name}"

    @server.tool(annotations=ToolAnnotations(readOnlyHint=False, destructiveHint=False), description="Adds a lead.")
    async def create(context: Context[Any, Any, Any], name: str, price: int = 0) -> str:
        return await effect(context, "create", name=name, price=price)

    @server.tool(
        annotations=ToolAnnotations(readOnlyHint=False, idempotentHint=True), description="Sets a lead's price."
    )
    async def update(context: Context[Any, Any, Any], name: str, price: int) -> str:
        return await effect(context, "update", name=name, price=price)

    return server


async def serve(app: Any) -> None:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none"))
    running = asyncio.create_task(server.serve())
    while not server.started and not running.done():
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await running


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    asyncio.run(serve(build(parser.parse_args().directory).streamable_http_app()))
