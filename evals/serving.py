"""The server under evaluation: a process of the product over an embedded database of its own, both gone afterwards."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from domain.identity import Role
from domain.settings import Settings, load_settings
from server.auth import issue_token
from storage import embedded

ROOT = Path(__file__).resolve().parent.parent
STARTUP_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Served:
    """A running server and the means to make tokens for it."""

    url: str
    settings: Settings

    def token(self, organization: str, user: str, role: Role = "admin") -> str:
        """Valid for a day."""
        return issue_token(self.settings, organization, user, [role], timedelta(days=1))


@contextmanager
def serve(environ: Mapping[str, str]) -> Iterator[Served]:
    """The server, up while the block runs; `environ` is added to this process's. Raises RuntimeError with the server's last
    words where it doesn't start."""
    with tempfile.TemporaryDirectory(prefix="consilium-eval-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)  # the database's own user has to reach its folder
        database = embedded.start(home / "postgres")
        try:
            owner = embedded.ensure_database(database, "eval")
            port = _free_port()
            own = {
                "DATABASE_URL": owner,
                "CONSILIUM_DATABASE_APP_URL": embedded.application_dsn(owner, user="consilium_app"),
                "CONSILIUM_DATA_DIR": str(home),
                "CONSILIUM_HOST": "127.0.0.1",
                "CONSILIUM_PORT": str(port),
                "CONSILIUM_LOG_LEVEL": "error",
                "CONSILIUM_JWT_SECRET": secrets.token_hex(32),
                "CONSILIUM_DAILY_TOKENS": "null",
                "CONSILIUM_DEMO": "false",
            }
            with _process({**os.environ, **own, **environ}, f"http://127.0.0.1:{port}", home / "server.log"):
                yield Served(f"http://127.0.0.1:{port}", load_settings({**own, **environ}))
        finally:
            database.cleanup()


@contextmanager
def _process(environ: Mapping[str, str], url: str, log: Path) -> Iterator[None]:
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as written:
        running = subprocess.Popen(
            [sys.executable, "-m", "server.cli", "serve"],
            cwd=ROOT,
            env={**environ, "PYTHONPATH": str(ROOT)},
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        while True:
            try:
                httpx.get(f"{url}/ok", timeout=2)
                break
            except httpx.TransportError:
                if running.poll() is not None or time.monotonic() - started > STARTUP_SECONDS:
                    raise RuntimeError(f"the server did not start:\n{log.read_text('utf-8')[-4000:]}") from None
                time.sleep(0.05)
        yield
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
