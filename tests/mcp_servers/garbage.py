"""Servers that aren't what they should be: `python garbage.py KIND`. Prints its port as the first line.

They answer the greeting and the list as they should where the fault is in the calls (`in_call_...`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

TOOL = {"name": "stock", "description": "The stock.", "inputSchema": {"type": "object", "properties": {}}}
GREETING = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "garbage", "version": "1"},
}


def reply(kind: str, message: dict[str, Any]) -> tuple[str, str, bytes]:
    """Status line, content type and body for one message."""
    method, number = message.get("method"), message.get("id")
    if "id" not in message:
        return "202 Accepted", "application/json", b""

    def result(value: Any) -> tuple[str, str, bytes]:
        return "200 OK", "application/json", json.dumps({"jsonrpc": "2.0", "id": number, "result": value}).encode()

    if kind == "html":
        return "200 OK", "text/html", b"<html><body>Welcome!</body></html>"
    if kind == "json":
        return "200 OK", "application/json", b'{"hello": "world"}'
    if kind == "old":
        return result({**GREETING, "protocolVersion": "1999-01-01"})
    if kind == "fault":
        return "500 Internal Server Error", "text/plain", b"oops"
    if kind == "nothing":
        return "404 Not Found", "text/plain", b"no such page"
    if method == "initialize":
        return result(GREETING)
    if method == "tools/list":
        if kind == "endless":
            return result({"tools": [TOOL], "nextCursor": "again"})
        if kind == "big_list":
            return result({"tools": [{**TOOL, "name": f"t{n}", "description": "x" * 9000} for n in range(600)]})
        if kind == "odd":
            return result({"tools": odd_tools()})
        return result({"tools": [TOOL]})
    match kind:
        case "in_call_html":
            return "200 OK", "text/html", b"<html>"
        case "in_call_json":
            return "200 OK", "application/json", b"not json"
        case "in_call_other":
            body = {"jsonrpc": "2.0", "id": 99999, "result": {"content": []}}
            return "200 OK", "application/json", json.dumps(body).encode()
        case "in_call_events":
            return "200 OK", "text/event-stream", b"event: message\ndata: garbage\n\n"
        case "in_call_silence":
            return "200 OK", "text/event-stream", b": nothing\n\n"
        case "in_call_shape":
            return result({"content": "a text instead of a list"})
        case "in_call_status":
            return "503 Service Unavailable", "text/plain", b""
        case "in_call_limit":
            return "429 Too Many Requests", "text/plain", b""
        case "in_call_token":
            return "401 Unauthorized", "text/plain", b""
        case "in_call_huge":
            return result({"content": [{"type": "text", "text": "x" * 50_000_000}]})
        case "in_call_rpc":
            error = {"code": -32602, "message": "no such article"}
            return "200 OK", "application/json", json.dumps({"jsonrpc": "2.0", "id": number, "error": error}).encode()
    return result({"content": [{"type": "text", "text": "fine"}]})


def odd_tools() -> list[dict[str, Any]]:
    """Names and schemas that no vendor would take."""
    plain: dict[str, Any] = {"type": "object"}
    return [
        {"name": "good", "inputSchema": plain},
        {"name": "склад.остаток", "inputSchema": plain},
        {"name": "a b", "inputSchema": plain},
        {"name": "a_b", "inputSchema": plain},
        {"name": "x" * 200, "inputSchema": plain},
        {"name": "x" * 201, "inputSchema": plain},
        {"name": "good", "description": "again", "inputSchema": plain},
        {"name": "outside", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1/x"}}}},
        {"name": "beside", "inputSchema": {"type": "object", "$ref": "#", "$dynamicRef": "http://127.0.0.1/x"}},
        {"name": "nowhere", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}},
        {"name": "circle", "inputSchema": {"type": "object", "$ref": "#"}},
        {"name": "wrong", "inputSchema": {"type": "object", "properties": {"a": {"type": 7}}}},
        {"name": "huge", "inputSchema": {"type": "object", "description": "y" * 30_000}},
        {"name": "wordy", "description": "z" * 5000, "inputSchema": plain},
    ]


async def main(kind: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if kind == "hung":
                await asyncio.sleep(3600)
            lines = head.decode("latin-1").split("\r\n")
            length = next((int(x.split(":")[1]) for x in lines if x.lower().startswith("content-length")), 0)
            body = await reader.readexactly(length)
            if not lines[0].startswith("POST"):
                writer.write(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                continue
            if kind == "binary":
                writer.write(b"\x00\xff\x16 this is no HTTP\r\n\r\n")
                await writer.drain()
                break
            if kind.startswith("redirect "):
                where = kind.split()[1]
                writer.write(f"HTTP/1.1 307 Moved\r\nlocation: {where}\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
                continue
            message = json.loads(body)
            status, content_type, payload = reply(kind, message)
            cut = kind == "in_call_cut" and message.get("method") == "tools/call"
            size = len(payload) + (500 if cut else 0)
            writer.write(
                f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {size}\r\n\r\n".encode()
            )
            writer.write(payload)
            await writer.drain()
            if cut:
                break
        writer.close()

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
