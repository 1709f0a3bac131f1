"""The pool and the ways into it: as one organisation (`tenant`, `batch`) or as the run engine (`engine`).

The application's role owns nothing and can't bypass row-level security. `tenant` sets `app.organization_id` for the
transaction, in the same pipeline as the statements; without it every policy is false. `engine` assumes the narrow role that
sees runs and the queue of all organisations and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import structlog
from psycopg import AsyncConnection, OperationalError
from psycopg.adapt import Loader
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool

from domain.ids import OrganizationId
from storage.columns import register
from storage.connection import BatchingConnection, Params, Statement

log = structlog.get_logger(__name__)

Row = DictRow
Connection = AsyncConnection[DictRow]
Pool = AsyncConnectionPool[BatchingConnection]

SET_TENANT = "SELECT set_config('app.organization_id', %s, true)"
SET_ENGINE = "SET LOCAL ROLE consilium_engine"


class _UuidAsText(Loader):
    """Ids are strings everywhere above the database."""

    def load(self, data: Any) -> str:
        return bytes(data).decode()


def json_bytes(value: Any) -> bytes:
    """orjson is several times faster; what it can't write (an integer beyond 64 bits) the standard library can."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(value).encode()


async def _configure(conn: Connection) -> None:
    conn.adapters.register_loader("uuid", _UuidAsText)
    set_json_dumps(json_bytes, conn)
    register(conn)
    set_json_loads(orjson.loads, conn)
    conn.prepare_threshold = 2


def open_pool(dsn: str, *, min_size: int = 2, max_size: int = 20) -> Pool:
    """A closed pool for `dsn`; the caller opens and closes it. Connections are not in autocommit."""
    return AsyncConnectionPool(
        dsn,
        connection_class=BatchingConnection,
        kwargs={"row_factory": dict_row},
        min_size=min_size,
        max_size=max_size,
        timeout=15,
        configure=_configure,
        open=False,
    )


class Database:
    """Transactions on the pool. Each block is one transaction: committed at its end, rolled back by an exception."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    @asynccontextmanager
    async def tenant(self, organization_id: OrganizationId) -> AsyncIterator[Connection]:
        """A transaction that sees one organisation. Pipelined: a statement's error may only show at the next fetch or the end."""
        async with self.pool.connection() as conn, conn.pipeline():
            await conn.execute(SET_TENANT, [organization_id])
            yield conn
            await conn.commit()

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Connection]:
        """A transaction as the run engine: the queue and the runs of every organisation, no content."""
        async with self.pool.connection() as conn, conn.pipeline():
            await conn.execute(SET_ENGINE)
            yield conn
            await conn.commit()

    async def batch(self, organization_id: OrganizationId, statements: Sequence[Statement]) -> list[list[Row]]:
        """The rows of each statement: one transaction that sees one organisation, in one round trip."""
        conn = await self.pool.getconn()
        try:
            return await conn.batch([(SET_TENANT, [organization_id]), *statements], unread=1)
        finally:
            await self.pool.putconn(conn)

    async def fetch_all(self, organization_id: OrganizationId, sql: str, params: Params = ()) -> list[Row]:
        """All rows of one statement in a transaction of its own; retried once where the connection had been lost."""
        return (await self.batch_again(organization_id, [(sql, params)]))[0]

    async def batch_again(self, organization_id: OrganizationId, statements: Sequence[Statement]) -> list[list[Row]]:
        """`batch` of statements that may be repeated: retried once where the connection had been lost."""
        try:
            return await self.batch(organization_id, statements)
        except OperationalError as lost:
            log.warning("database connection lost, retrying once", error=type(lost).__name__)
            await self.pool.drain()
            return await self.batch(organization_id, statements)

    async def fetch_one(self, organization_id: OrganizationId, sql: str, params: Params = ()) -> Row | None:
        """The first row of one statement, or None."""
        rows = await self.fetch_all(organization_id, sql, params)
        return rows[0] if rows else None

    async def execute(self, organization_id: OrganizationId, sql: str, params: Params = ()) -> None:
        """One statement whose rows, if any, don't matter."""
        await self.fetch_all(organization_id, sql, params)


async def ping(db: Database) -> None:
    """Raises OperationalError or PoolTimeout where the database doesn't answer."""
    async with db.pool.connection(timeout=2) as conn:
        await conn.execute("SELECT 1")
