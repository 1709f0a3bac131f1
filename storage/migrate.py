"""Forward-only migrations (Alembic, raw SQL), safe with several replicas starting at once.

The replicas poll `pg_try_advisory_lock`: a blocking advisory lock deadlocks with CREATE INDEX CONCURRENTLY.
"""

from __future__ import annotations

import time
from pathlib import Path

from psycopg import Connection, connect
from psycopg.errors import UndefinedTable

LOCK_KEY = 7_203_114_559
DIRECTORY = Path(__file__).parent / "migrations"


def head() -> str:
    """The newest revision on disk: versions are named NNNN_what.py and chain in that order."""
    return max(path.stem.split("_")[0] for path in (DIRECTORY / "versions").glob("[0-9]*.py"))


def current(dsn: str) -> str | None:
    """The database's revision; None where it has never been migrated."""
    with connect(dsn, autocommit=True) as conn:
        try:
            row = conn.execute("SELECT version_num FROM alembic_version").fetchone()
        except UndefinedTable:
            return None
    return str(row[0]) if row else None


def migrate(dsn: str, *, wait_seconds: float = 120) -> str:
    """Bring the database to `head()`, waiting for another replica that is already at it. Returns the revision.

    Raises TimeoutError where another session has held the migration lock for `wait_seconds`.
    """
    if current(dsn) == head():
        return head()
    with connect(dsn, autocommit=True) as guard:
        _lock(guard, wait_seconds)
        if current(dsn) != head():
            _upgrade(dsn)
    return head()


def _lock(guard: Connection, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        row = guard.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone()
        if row and row[0]:
            return
        if time.monotonic() > deadline:
            raise TimeoutError("another process has held the migration lock for too long")
        time.sleep(0.1)


def _upgrade(dsn: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(DIRECTORY))
    config.attributes["dsn"] = dsn
    command.upgrade(config, "head")
