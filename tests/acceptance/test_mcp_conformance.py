"""The protocol's own conformance suite against our client. MCP_CONFORMANCE names its executable (npm package
`@modelcontextprotocol/conformance`, Node 24); without it the tests are skipped."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path

import pytest

from domain.settings import ROOT

SUITE = os.environ.get("MCP_CONFORMANCE", "")
pytestmark = pytest.mark.skipif(not SUITE, reason="MCP_CONFORMANCE does not name the conformance suite's executable")


@pytest.mark.parametrize("scenario", ["initialize", "tools_call", "sse-retry", "json-schema-2020-12-preservation"])
async def test_scenario(scenario: str, tmp_path: Path) -> None:
    client = shlex.join([sys.executable, "-m", "tests.mcp_servers.conformance_client"])
    process = await asyncio.create_subprocess_exec(
        SUITE, "client", "--command", client, "--scenario", scenario, "--spec-version", "2025-11-25", "-o", str(tmp_path),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode == 0, said.decode()[-4000:]
