"""MCP servers of the tests as processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent
OFFICE = DIRECTORY / "office.py"
GARBAGE = DIRECTORY / "garbage.py"
CRM = DIRECTORY / "crm.py"
HOSTILE = DIRECTORY / "hostile.py"
LOOPBACK = {"CONSILIUM_MCP_ALLOWED_NETWORKS": "127.0.0.0/8"}
"""What a server needs to be allowed them."""


@dataclass
class McpProcess:
    """A running server; `url` is where it speaks its transport."""

    process: asyncio.subprocess.Process
    port: int
    path: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        await self.process.wait()

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def office(transport: str = "streamable_http", *arguments: str) -> AsyncIterator[McpProcess]:
    """The office server over HTTP, up while the block runs."""
    async with started(OFFICE, transport, *arguments, path="/sse" if transport == "sse" else "/mcp") as running:
        yield running


@asynccontextmanager
async def started(program: Path, *arguments: str, path: str = "/mcp") -> AsyncIterator[McpProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 120)
    running = McpProcess(process, int(line), path)
    try:
        yield running
    finally:
        await running.kill()


@dataclass
class Crm:
    """A server whose effects can be counted, and whose answers can be held back."""

    program: McpProcess
    directory: Path

    @property
    def effects(self) -> list[dict[str, Any]]:
        """What has been done: `tool`, `arguments`, `key`."""
        file = self.directory / "effects"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def hold(self) -> None:
        """From now on a call has its effect and doesn't answer."""
        (self.directory / "hold").touch()

    def release(self) -> None:
        (self.directory / "release").touch()

    async def has_done(self, count: int) -> None:
        """Wait until there are so many effects."""
        async with asyncio.timeout(30):
            while len(self.effects) < count:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def crm(directory: Path) -> AsyncIterator[Crm]:
    """The CRM over streamable HTTP, up while the block runs."""
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    async with started(CRM, str(directory)) as running:
        yield Crm(running, directory)
