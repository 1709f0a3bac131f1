"""Real Postgres for every test: one embedded cluster a session, one migrated template, one database a test."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from psycopg import connect
from psycopg.errors import DuplicateDatabase, UniqueViolation

from domain.ids import OrganizationId
from storage import embedded, migrate
from storage.database import Database, open_pool

pytest_plugins = ["tests.upstream.fixtures"]
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")

TEMPLATE = "consilium_template"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedServer]:
    """One cluster for all xdist workers of the session, thrown away at the end."""
    shared = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)
    home = Path(tempfile.gettempdir()) / f"consilium-tests-{shared[:12]}"
    home.mkdir(exist_ok=True)
    home.chmod(0o755)
    server = embedded.start(home / "pg")
    with connect(server.get_uri(), autocommit=True) as conn:
        for setting in ("fsync = off", "full_page_writes = off", "synchronous_commit = off", "max_connections = 300"):
            conn.execute(f"ALTER SYSTEM SET {setting}".encode())
        conn.execute("SELECT pg_reload_conf()")
    yield server
    server.cleanup()


@pytest.fixture(scope="session")
def template(cluster: embedded.EmbeddedServer) -> str:
    """The name of the migrated template database."""
    with connect(cluster.get_uri(), autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(1)")
        with suppress(DuplicateDatabase, UniqueViolation):
            conn.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        migrate.migrate(cluster.get_uri(TEMPLATE))
        conn.execute("SELECT pg_advisory_unlock(1)")
    return TEMPLATE


@pytest.fixture
def owner_dsn(cluster: embedded.EmbeddedServer, template: str) -> Iterator[str]:
    """A fresh database, as its owner (tests use it to look behind row-level security)."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    with connect(cluster.get_uri(), autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(1)")
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        conn.execute("SELECT pg_advisory_unlock(1)")
    yield cluster.get_uri(name)
    with connect(cluster.get_uri(), autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def app_dsn(owner_dsn: str) -> str:
    """The same database as the application sees it: under row-level security."""
    return embedded.application_dsn(owner_dsn, user="consilium_app")


@pytest.fixture
async def db(app_dsn: str) -> AsyncIterator[Database]:
    pool = open_pool(app_dsn, min_size=1, max_size=10)
    await pool.open()
    yield Database(pool)
    await pool.close()


@pytest.fixture
def organization() -> OrganizationId:
    return OrganizationId(str(uuid.uuid4()))


@pytest.fixture
def other_organization() -> OrganizationId:
    return OrganizationId(str(uuid.uuid4()))
