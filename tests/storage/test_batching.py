"""Transactions on batching connections: whatever was fetched before their end, they end with the block."""

from __future__ import annotations

import pytest
from psycopg import connect
from psycopg.errors import UniqueViolation

from domain.ids import OrganizationId
from storage.database import Database

OPEN = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'consilium_app' AND xact_start IS NOT NULL"
ADD = "INSERT INTO organizations (organization_id, name) VALUES (%s, %s) RETURNING name"


def seen(owner_dsn: str, sql: str) -> object:
    with connect(owner_dsn) as conn:
        row = conn.execute(sql.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("fetched", [True, False])
async def test_a_block_commits_what_it_wrote(
    db: Database, owner_dsn: str, organization: OrganizationId, fetched: bool
) -> None:
    async with db.tenant(organization) as conn:
        cursor = await conn.execute(ADD.encode(), [organization, "acme"])
        if fetched:
            assert await cursor.fetchall() == [{"name": "acme"}]
    assert seen(owner_dsn, "SELECT count(*) FROM organizations") == 1
    assert seen(owner_dsn, OPEN) == 0


async def test_what_follows_a_fetch_is_of_the_same_transaction(
    db: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    async def twice() -> None:
        async with db.tenant(organization) as conn:
            await (await conn.execute(ADD.encode(), [organization, "acme"])).fetchall()
            await (await conn.execute(ADD.encode(), [organization, "again"])).fetchall()

    with pytest.raises(UniqueViolation):
        await twice()
    assert seen(owner_dsn, "SELECT count(*) FROM organizations") == 0
    assert seen(owner_dsn, OPEN) == 0


async def test_a_block_that_fails_after_a_fetch_is_undone(
    db: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    async def fail() -> None:
        async with db.tenant(organization) as conn:
            await (await conn.execute(ADD.encode(), [organization, "acme"])).fetchall()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert seen(owner_dsn, "SELECT count(*) FROM organizations") == 0
    assert seen(owner_dsn, OPEN) == 0


async def test_a_read_holds_no_lock_and_no_snapshot(db: Database, owner_dsn: str) -> None:
    for _ in range(3):
        async with db.engine() as conn:
            await conn.execute(b"INSERT INTO provider_breakers (provider) VALUES ('openai') ON CONFLICT DO NOTHING")
            row = await (await conn.execute(b"SELECT status FROM provider_breakers FOR UPDATE")).fetchone()
        assert row == {"status": "closed"}
        assert seen(owner_dsn, OPEN) == 0
        assert seen(owner_dsn, "SELECT status FROM provider_breakers FOR UPDATE NOWAIT") == "closed"


async def test_a_batch_after_a_block_that_was_undone(db: Database, organization: OrganizationId) -> None:
    """psycopg has the server forget all prepared statements at a rollback, those of batches included."""

    async def fail() -> None:
        async with db.tenant(organization) as conn:
            for _ in range(5):
                await (await conn.execute(b"SELECT 1 AS one")).fetchall()
            raise ZeroDivisionError

    for _ in range(3):
        assert await db.fetch_all(organization, "SELECT 2 AS two") == [{"two": 2}]
        with pytest.raises(ZeroDivisionError):
            await fail()
    assert await db.fetch_all(organization, "SELECT 2 AS two") == [{"two": 2}]
