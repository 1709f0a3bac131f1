"""MCP servers that mean harm, as real programs: each costs its own calls, and neither this process nor anybody's secrets."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Awaitable

import pytest

from domain.errors import ToolError, ToolProtocolError
from domain.mcp import McpServer
from storage.database import Database
from tests.mcp_servers.processes import HOSTILE, started
from tests.tools.test_mcp_toolbox import Bench, bench

__all__ = ["bench"]
pytestmark = pytest.mark.timeout(120)
SECRET, KEY = "sesame-open-0123456789", "another-key-987"
HEADERS = {"Authorization": f"Bearer {SECRET}", "X-Key": KEY}
CPU_SECONDS = 4.0
"""More than any of them may cost here."""


def peak() -> float:
    """The most memory this process has used so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def cheap(work: Awaitable[object]) -> None:
    """It fails as a tool fails, and takes none of the time of others."""
    began = time.process_time()
    with pytest.raises(ToolError):
        await work
    assert time.process_time() - began < CPU_SECONDS


async def test_what_the_database_cannot_hold_is_left_out(bench: Bench) -> None:
    box = bench.box()
    async with started(HOSTILE, "nul") as program:
        added = await bench.add(box, program.url, "nul")
        assert (added.state, (added.listing.server_info or {})["name"]) == ("ready", "ab")
        assert (await bench.call(box, "nul__stock")).content == "fine"
    async with started(HOSTILE, "nan") as program:
        assert (await bench.add(box, program.url, "nan")).state == "ready"
        assert (await bench.call(box, "nan__stock")).content == "fine"


async def test_an_error_of_the_servers_own_is_told_as_one(bench: Bench) -> None:
    async with started(HOSTILE, "nul_error") as program:
        added = await bench.add(bench.box(), program.url)
    assert (added.state, added.reason and added.reason.code) == ("wrong_protocol", "refused")
    assert added.reason is not None
    assert added.reason.message.endswith("refused to list its tools: nothing")


async def test_pages_without_end_cost_no_memory(bench: Bench) -> None:
    before = peak()
    async with started(HOSTILE, "pages") as program:
        added = await bench.add(bench.box(), program.url)
    assert (added.state, added.reason and added.reason.code) == ("wrong_protocol", "too_large")
    assert peak() - before < 250


async def test_events_without_end_cost_no_time(bench: Bench) -> None:
    box = bench.box()
    async with started(HOSTILE, "call_events") as program:
        await bench.add(box, program.url)
        began = time.process_time()
        with pytest.raises(ToolProtocolError, match="10000 events"):
            await bench.call(box, "office__stock")
        assert time.process_time() - began < CPU_SECONDS
    async with started(HOSTILE, "call_pings") as program:
        await bench.add(box, program.url, "pings")
        await cheap(bench.call(box, "pings__stock"))


@pytest.mark.parametrize("kind", ["call_secret", "call_secret_error", "list_secret"])
async def test_a_secret_that_is_sent_back_is_shown_to_nobody(bench: Bench, db: Database, kind: str) -> None:
    box = bench.box()
    async with started(HOSTILE, kind) as program:
        added = await bench.add(box, program.url, headers=HEADERS)
        told = str(added.reason)
        if kind == "call_secret":
            told = (await bench.call(box, "office__stock")).content
        elif kind == "call_secret_error":
            with pytest.raises(ToolError) as refused:
                await bench.call(box, "office__stock")
            told = refused.value.message
    assert "is not known" in told
    assert "[hidden]" in told
    assert SECRET not in told
    assert KEY not in told
    kept = await db.fetch_all(bench.organization, "SELECT row_to_json(l)::text AS kept FROM mcp_listings l", {})
    assert kept
    assert SECRET not in json.dumps(kept, default=str)


def test_secrets_are_known_wherever_they_stand() -> None:
    server = McpServer.model_validate(
        {
            "server_id": "1",
            "organization_id": "1",
            "scope": "operator",
            "name": "s",
            "transport": "sse",
            "url": f"https://mcp.example/sse?api_key={KEY}&v=1",
            "headers": HEADERS,
            "env": {"CRM_TOKEN": "of-the-crm-123", "CRM_BASE_URL": "https://crm.example"},
        }
    )
    said = server.without_secrets(f"Bearer {SECRET}; {SECRET}; {KEY}; of-the-crm-123; https://crm.example/1?v=1")
    assert said == "[hidden]; [hidden]; [hidden]; [hidden]; https://crm.example/1?v=1"


async def test_others_are_served_meanwhile(bench: Bench) -> None:
    """The longest this process is away while it reads what a hostile server sends."""
    box, longest, over = bench.box(), 0.0, asyncio.Event()

    async def beat() -> None:
        nonlocal longest
        while not over.is_set():
            began = time.process_time()
            await asyncio.sleep(0)
            longest = max(longest, time.process_time() - began)

    async with started(HOSTILE, "call_events") as program:
        await bench.add(box, program.url)
        beating = asyncio.create_task(beat())
        with pytest.raises(ToolError):
            await bench.call(box, "office__stock")
        over.set()
        await beating
    assert longest < 0.5
