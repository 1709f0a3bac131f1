"""The protocol's reference server, a program that isn't ours, used by an agent. It stands beside the conformance suite's executable
(`.ci/conformance` installs both); without it the tests are skipped."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Serving
from tests.acceptance.test_mcp_servers import calling, offered, turn
from tests.mcp_servers.processes import LOOPBACK
from tests.upstream.server import Upstream

EVERYTHING = Path(os.environ.get("MCP_CONFORMANCE", "")).parent / "everything"
pytestmark = [
    pytest.mark.skipif(
        not EVERYTHING.is_file(), reason="the reference server is not beside the executable MCP_CONFORMANCE names"
    ),
    pytest.mark.timeout(180),
]


async def test_as_a_program_of_the_operator(serving: Serving, tmp_path: Path) -> None:
    file = tmp_path / "mcp.yaml"
    command = json.dumps([str(EVERYTHING), "stdio"])
    file.write_text(f"servers: [{{name: all, transport: stdio, command: {command}, connect_seconds: 60}}]")
    with Upstream(calling("all__get-sum", a="2", b=40)) as upstream:
        async with serving(upstream, CONSILIUM_MCP_FILE=str(file)) as server:
            assert "42" in await turn(server, "What is the sum?")
            assert {"all__echo", "all__get-sum"} <= offered(upstream.requests[0])
            upstream.policy = calling("all__get-tiny-image")
            assert "image/png" in await turn(server, "Show it.")
            async with server.http() as http:
                [known] = (await http.get("/v1/mcp/servers")).json()["servers"]
            assert (known["state"], known["reason"]) == ("ready", None)
            assert {tool["status"] for tool in known["tools"]} == {"approved"}, "schemas of an older draft are taken"


async def test_over_http_at_an_address_of_the_organisation(serving: Serving) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        str(EVERYTHING),
        "streamableHttp",
        env={**os.environ, "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.1)
        with Upstream(calling("all__echo", message="good morning")) as upstream:
            async with serving(upstream, **LOOPBACK) as server:
                async with server.http() as http:
                    new: dict[str, Any] = {"name": "all", "url": f"http://127.0.0.1:{port}/mcp", "connect_seconds": 60}
                    added = (await http.post("/v1/mcp/servers", json=new)).json()
                assert added["state"] == "ready", added["reason"]
                assert await turn(server, "Say it.") == "Echo: good morning"
    finally:
        process.kill()
        await process.wait()
