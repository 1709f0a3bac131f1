"""Servers under measurement, as processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(arguments: list[str], ready: str, **environ: str) -> Iterator[float]:
    """`python ARGUMENTS` from the project's root, up while the block runs; gives the seconds until `ready` answered."""
    started = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    running = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                httpx.get(ready, timeout=2)
                break
            except httpx.TransportError:
                if running.poll() is not None or time.monotonic() - started > 60:
                    raise RuntimeError(f"{arguments} did not start") from None
                time.sleep(0.02)
        yield time.monotonic() - started
    finally:
        running.terminate()
        running.wait(20)
