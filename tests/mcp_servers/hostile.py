"""Servers that mean harm: `python hostile.py KIND`. Prints its port as the first line. They greet and list as they should where the
harm is in a call (`call_...`)."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

TOOL: dict[str, Any] = {
    "name": "stock",
    "description": "The stock.",
    "inputSchema": {"type": "object"},
    "annotations": {"readOnlyHint": True},
}
JSON, SSE = "application/json", "text/event-stream"


class Answers:
    """What it answers to one message, by its kind."""

    def __init__(self, kind: str, headers: dict[str, str]) -> None:
        self._kind = kind
        self._headers = headers

    def to(self, message: dict[str, Any]) -> tuple[str, bytes]:
        """Content type and body."""
        self._number = message.get("id")
        match message.get("method"):
            case "initialize":
                return self._greeting()
            case "tools/list":
                return self._list(message)
        return self._call()

    def _result(self, value: Any) -> tuple[str, bytes]:
        return JSON, json.dumps({"jsonrpc": "2.0", "id": self._number, "result": value}).encode()

    def _error(self, message: str) -> tuple[str, bytes]:
        error = {"code": -32000, "message": message}
        return JSON, json.dumps({"jsonrpc": "2.0", "id": self._number, "error": error}).encode()

    def _greeting(self) -> tuple[str, bytes]:
        name = "a\x00b" if self._kind == "nul" else "hostile"
        return self._result(
            {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": name, "version": "1"},
            }
        )

    def _list(self, message: dict[str, Any]) -> tuple[str, bytes]:
        if self._kind == "nul_error":
            return self._error("no\x00thing")
        if self._kind == "list_secret":
            return self._error(f"the token {self._headers.get('authorization')} is not known")
        if self._kind == "nan":
            endless = {"type": "object", "properties": {"n": {"maximum": float("inf"), "minimum": float("nan")}}}
            return self._result({"tools": [TOOL, {**TOOL, "name": "endless", "inputSchema": endless}]})
        if self._kind == "pages":
            page = int((message.get("params") or {}).get("cursor") or 0)
            tools = [
                {**TOOL, "name": f"t{page}-{n}", "inputSchema": {"type": "object", "x": [{}] * 400_000}}
                for n in range(2)
            ]
            return self._result({"tools": tools, "nextCursor": str(page + 1)})
        return self._result({"tools": [TOOL]})

    def _call(self) -> tuple[str, bytes]:
        match self._kind:
            case "call_events":
                return SSE, b":\n\n" * 1_300_000
            case "call_pings":
                ping = b'data: {"jsonrpc":"2.0","id":1,"method":"ping"}\n\n'
                return SSE, ping * 60_000
            case "call_secret":
                said = f"the token {self._headers.get('authorization')} ({self._headers.get('x-key')}) is not known"
                return self._result({"content": [{"type": "text", "text": said}]})
            case "call_secret_error":
                return self._error(f"the token {self._headers.get('authorization')} is not known")
        return self._result({"content": [{"type": "text", "text": "fine"}]})


async def main(kind: str) -> None:
    posts = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if not head[0].startswith("POST"):
                writer.write(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                continue
            posts += 1
            message = json.loads(body)
            if "method" not in message or "id" not in message:
                writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                continue
            content_type, payload = Answers(kind, headers).to(message)
            size = len(payload)
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {size}\r\n\r\n".encode())
            writer.write(payload)
            await writer.drain()

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
