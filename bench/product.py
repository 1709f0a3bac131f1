"""The product under measurement: a server of its own over a database of its own, its models served by the scripted upstream."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from bench.processes import free_port, process
from domain.settings import load_settings
from server.auth import issue_token
from storage import embedded


@dataclass(frozen=True)
class Product:
    """Where it is reached. `owner_dsn` and `floor_dsn` are two databases of one embedded Postgres."""

    url: str
    token: str
    model_url: str
    owner_dsn: str
    floor_dsn: str


@contextmanager
def serving() -> Iterator[Product]:
    """The product, up while the block runs; no limits, so that nothing but work is measured."""
    with tempfile.TemporaryDirectory(prefix="consilium-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        server = embedded.start(home / "postgres")
        floor, owner = embedded.ensure_database(server, "floor"), embedded.ensure_database(server, "product")
        model, port = free_port(), free_port()
        model_url, url = f"http://127.0.0.1:{model}/v1", f"http://127.0.0.1:{port}"
        environ = {
            "OPENAI_BASE_URL": model_url,
            "DATABASE_URL": owner,
            "CONSILIUM_DATABASE_APP_URL": embedded.application_dsn(owner, user="consilium_app"),
            "CONSILIUM_DATA_DIR": str(home),
            "CONSILIUM_PORT": str(port),
            "CONSILIUM_LOG_LEVEL": "error",
            "CONSILIUM_DAILY_TOKENS": "null",
        }
        with (
            process(["-m", "tests.upstream.server", "--port", str(model)], f"{model_url}/models"),
            process(["-m", "server.cli", "serve"], f"{url}/ok", **environ),
        ):
            settings = load_settings({name: environ[name] for name in ("CONSILIUM_DATA_DIR", "DATABASE_URL")})
            token = issue_token(settings, "bench", "bench", ["member"], timedelta(hours=1))
            # the console is loaded behind the first requests, which is no part of what is measured
            httpx.get(f"{url}/console/", timeout=60, follow_redirects=True).raise_for_status()
            yield Product(url, token, model_url, owner, floor)
        server.cleanup()
