"""The protocol's own conformance suite against our client, and against the amoCRM server. MCP_CONFORMANCE names its executable
(`.ci/conformance` installs it); without it the tests are skipped."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path

import pytest

from domain.settings import ROOT

SUITE = os.environ.get("MCP_CONFORMANCE", "")
VERSION = "2025-11-25"
pytestmark = [
    pytest.mark.skipif(not SUITE, reason="MCP_CONFORMANCE does not name the conformance suite's executable"),
    pytest.mark.timeout(180),
]


async def judge(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        SUITE, *arguments, "--spec-version", VERSION,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 150)
    assert process.returncode == 0, said.decode()[-4000:]


@pytest.mark.parametrize("scenario", ["initialize", "tools_call", "sse-retry", "json-schema-2020-12-preservation"])
async def test_our_client(scenario: str, tmp_path: Path) -> None:
    client = shlex.join([sys.executable, "-m", "tests.mcp_servers.conformance_client"])
    await judge("client", "--command", client, "--scenario", scenario, "-o", str(tmp_path))


async def test_the_amocrm_server(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "server.cli", "mcp-amocrm", "--sample", "--port", "0")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 120)).decode().split()[-1]
        for scenario in ("server-initialize", "ping", "tools-list", "dns-rebinding-protection"):
            await judge("server", "--url", url, "--scenario", scenario, "-o", str(tmp_path))
    finally:
        process.terminate()
        await process.wait()
