"""Transactions on batching connections: whatever was fetched before their end, they end with the block."""

from __future__ import annotations

import pytest
from psycopg import connect
from psycopg.errors import UniqueViolation

from domain.ids import OrganizationId
from storage.database import Database, open_pool

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


async def test_a_transaction_that_was_rolled_back_costs_the_next_ones_nothing(
    app_dsn: str, organization: OrganizationId
) -> None:
    """psycopg then forgets the statements it has prepared, and has the server forget all there are, those of batches too."""
    count = "SELECT count(*) AS n FROM organizations"
    async with open_pool(app_dsn, min_size=1, max_size=1) as pool:
        db = Database(pool)
        for name in ("acme", "other"):
            for _ in range(4):  # often enough that psycopg prepares it
                assert await db.fetch_all(organization, count) == [{"n": 0}]
                async with db.tenant(organization) as conn:
                    await (await conn.execute(count.encode())).fetchall()
            with pytest.raises(RuntimeError):
                async with db.tenant(organization) as conn:
                    await (await conn.execute(ADD.encode(), [organization, name])).fetchall()
                    raise RuntimeError
            assert await db.fetch_all(organization, f"{count} WHERE name <> '{name}'") == [{"n": 0}]
            assert await db.fetch_all(organization, count) == [{"n": 0}]
