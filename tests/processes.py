"""The server as a process of its own, to be killed."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from domain.settings import ROOT
from storage import embedded
from tests.serving import SECRET


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def start(environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """A server process, once it answers."""
    command = [sys.executable, "-m", "server.cli", "serve"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environ, "PYTHONPATH": str(ROOT)})
    async with httpx.AsyncClient() as http, asyncio.timeout(60):
        while True:
            try:
                await http.get(f"http://127.0.0.1:{environ['CONSILIUM_PORT']}/ok")
                return process
            except httpx.TransportError:
                assert process.poll() is None, "the server did not start"
                await asyncio.sleep(0.05)


def environment(owner_dsn: str, data_dir: Path, **more: str) -> dict[str, str]:
    """Of a server over this database that is taken over from within a second."""
    return {
        "DATABASE_URL": owner_dsn,
        "CONSILIUM_DATABASE_APP_URL": embedded.application_dsn(owner_dsn, user="consilium_app"),
        "CONSILIUM_DATA_DIR": str(data_dir),
        "CONSILIUM_JWT_SECRET": SECRET,
        "CONSILIUM_PORT": str(free_port()),
        "CONSILIUM_LEASE_SECONDS": "1",
        "CONSILIUM_LOG_LEVEL": "error",
        **more,
    }
