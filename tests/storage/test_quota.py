"""Budgets: exact in parallel, settled once, on their own day, seen by nobody else (invariant I4)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from psycopg import connect
from psycopg.rows import dict_row

from domain.errors import QuotaExceeded
from domain.ids import OrganizationId, RunId, UserId, new_id
from domain.usage import Usage
from storage.database import Database
from storage.quota import QuotaLedger

CALL = {"user_id": UserId("anna"), "agent": "legal_agent", "provider": "openai", "model": "gpt-4o-mini"}


def rows(owner_dsn: str, sql: str) -> list[dict[str, object]]:
    with connect(owner_dsn, row_factory=dict_row) as conn:
        return conn.execute(sql.encode()).fetchall()


def assert_books_balance(owner_dsn: str) -> None:
    wrong = rows(
        owner_dsn,
        """SELECT d.* FROM quota_days d LEFT JOIN LATERAL (
               SELECT coalesce(sum(prompt + completion) FILTER (WHERE status = 'committed'), 0) AS used,
                      coalesce(sum(l.reserved) FILTER (WHERE status = 'reserved'), 0) AS reserved
               FROM usage_ledger l WHERE l.organization_id = d.organization_id AND l.day = d.day) s ON true
           WHERE d.used <> s.used OR d.reserved <> s.reserved""",
    )
    assert wrong == []


async def test_parallel_reservations_never_pass_the_limit(
    db: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    ledger = QuotaLedger(db)
    await ledger.set_limit(organization, 10_000)
    with connect(owner_dsn, autocommit=True) as conn:
        # Every state the day's row ever has is judged, not only the last.
        conn.execute("""
            CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.reserved > OLD.reserved AND NEW.used + NEW.reserved > 10000 THEN RAISE EXCEPTION 'over'; END IF;
                RETURN NEW; END $$""")
        conn.execute("CREATE TRIGGER watch AFTER UPDATE ON quota_days FOR EACH ROW EXECUTE FUNCTION watch()")

    async def one(n: int) -> bool:
        try:
            reservation = await ledger.reserve(organization, 100, **CALL)
        except QuotaExceeded:
            return False
        if n % 3 == 0:
            await ledger.release(reservation)
        else:
            await ledger.commit(reservation, Usage(40, 60, "provider"))
        return True

    granted = await asyncio.gather(*(one(n) for n in range(200)))
    state = await ledger.today(organization)
    assert state.used <= 10_000
    assert state.reserved == 0
    assert state.used == 100 * sum(1 for n, ok in enumerate(granted) if ok and n % 3)
    assert_books_balance(owner_dsn)


async def test_exactly_the_limit_is_granted(db: Database, organization: OrganizationId, owner_dsn: str) -> None:
    ledger = QuotaLedger(db, default_daily_tokens=1_000)
    results = await asyncio.gather(
        *(ledger.reserve(organization, 10, **CALL) for _ in range(200)), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 100
    assert all(isinstance(result, QuotaExceeded) for result in results if isinstance(result, BaseException))
    assert (await ledger.today(organization)).reserved == 1_000
    assert_books_balance(owner_dsn)


async def test_a_refusal_says_when_it_ends_and_holds_nothing(
    db: Database, organization: OrganizationId, owner_dsn: str
) -> None:
    ledger = QuotaLedger(db, default_daily_tokens=50)
    await ledger.reserve(organization, 30, **CALL)
    with pytest.raises(QuotaExceeded) as refused:
        await ledger.reserve(organization, 21, **CALL)
    assert refused.value.details["limit"] == 50
    assert refused.value.details["reserved"] == 30
    resets = refused.value.resets_at.astimezone(UTC)
    assert (resets.hour, resets.minute, resets.second) == (0, 0, 0)
    assert 0 < (resets - datetime.now(UTC)).total_seconds() <= 86_400
    assert len(rows(owner_dsn, "SELECT 1 FROM usage_ledger")) == 1


async def test_a_call_larger_than_the_whole_limit_is_refused_on_a_fresh_day(
    db: Database, organization: OrganizationId, owner_dsn: str
) -> None:
    with pytest.raises(QuotaExceeded):
        await QuotaLedger(db, default_daily_tokens=50).reserve(organization, 51, **CALL)
    assert rows(owner_dsn, "SELECT 1 FROM quota_days") == []


async def test_limits_own_none_and_default(db: Database, organization: OrganizationId) -> None:
    ledger = QuotaLedger(db, default_daily_tokens=10)
    await ledger.set_limit(organization, None)
    assert (await ledger.today(organization)).limit is None
    await ledger.reserve(organization, 10**9, **CALL)
    await ledger.set_limit(organization, 0)
    with pytest.raises(QuotaExceeded):
        await ledger.reserve(organization, 1, **CALL)
    await ledger.clear_limit(organization)
    assert (await ledger.today(organization)).limit == 10


async def test_settling_twice_charges_once(db: Database, organization: OrganizationId, owner_dsn: str) -> None:
    ledger = QuotaLedger(db)
    reservation = await ledger.reserve(organization, 500, **CALL)
    await ledger.commit(reservation, Usage(100, 20, "provider"), model="gpt-4o-mini-2024")
    await ledger.commit(reservation, Usage(100, 20, "provider"))
    await ledger.release(reservation)
    state = await ledger.today(organization)
    assert (state.used, state.reserved) == (120, 0)
    assert_books_balance(owner_dsn)


async def test_usage_that_arrives_after_the_release_is_still_charged(
    db: Database, organization: OrganizationId, owner_dsn: str
) -> None:
    ledger = QuotaLedger(db)
    reservation = await ledger.reserve(organization, 500, **CALL)
    await ledger.release(reservation)
    await ledger.commit(reservation, Usage(7, 3, "estimated"))
    state = await ledger.today(organization)
    assert (state.used, state.reserved) == (10, 0)
    assert_books_balance(owner_dsn)


@pytest.mark.parametrize("lost", [("usage_ledger",), ("usage_ledger", "quota_days")])
async def test_a_reservation_that_a_crash_of_the_database_took_away_is_charged_once(
    db: Database, organization: OrganizationId, owner_dsn: str, lost: tuple[str, ...]
) -> None:
    ledger, run = QuotaLedger(db), RunId(new_id())
    reservation = await ledger.reserve(organization, 500, run_id=run, purpose="gateway", **CALL)
    with connect(owner_dsn, autocommit=True) as conn:  # it comes back without what it hadn't yet written
        conn.execute("UPDATE quota_days SET reserved = 0")
        for table in lost:
            conn.execute(f"DELETE FROM {table}".encode())
    for _ in range(2):
        await ledger.commit(reservation, Usage(100, 20, "provider"))
    await ledger.release(reservation)
    state = await ledger.today(organization)
    assert (state.used, state.reserved) == (120, 0)
    [entry] = rows(owner_dsn, "SELECT run_id::text, user_id, agent, provider, model, purpose, status FROM usage_ledger")
    assert entry == {"run_id": run, "purpose": "gateway", "status": "committed", **CALL}
    assert_books_balance(owner_dsn)


async def test_settled_on_the_day_it_was_reserved(db: Database, organization: OrganizationId, owner_dsn: str) -> None:
    ledger = QuotaLedger(db)
    reservation = await ledger.reserve(organization, 500, **CALL)
    with connect(owner_dsn, autocommit=True) as conn:  # midnight passes
        conn.execute("UPDATE quota_days SET day = day - 1")
        conn.execute("UPDATE usage_ledger SET day = day - 1")
    await ledger.commit(reservation, Usage(100, 20, "provider"))
    assert (await ledger.today(organization)).used == 0
    assert [(row["used"], row["reserved"]) for row in rows(owner_dsn, "SELECT * FROM quota_days")] == [(120, 0)]
    assert_books_balance(owner_dsn)


async def test_a_dead_runs_reservations_come_back(db: Database, organization: OrganizationId, owner_dsn: str) -> None:
    ledger = QuotaLedger(db)
    run = RunId(new_id())
    for tokens in (10, 20, 30):
        await ledger.reserve(organization, tokens, run_id=run, **CALL)
    kept = await ledger.reserve(organization, 5, **CALL)
    assert sorted(await asyncio.gather(*(ledger.release_run(organization, run) for _ in range(3)))) == [0, 0, 3]
    assert (await ledger.today(organization)).reserved == kept.tokens
    assert_books_balance(owner_dsn)


async def test_the_sweep_takes_back_what_expired_everywhere(
    db: Database, organization: OrganizationId, other_organization: OrganizationId, owner_dsn: str
) -> None:
    ledger = QuotaLedger(db)
    for each in (organization, other_organization):
        await ledger.reserve(each, 10, ttl_seconds=-1, **CALL)
        await ledger.reserve(each, 10, **CALL)
    assert await ledger.sweep() == 2
    assert await ledger.sweep() == 0
    assert (await ledger.today(organization)).reserved == 10
    assert_books_balance(owner_dsn)


async def test_statistics_and_isolation(
    db: Database, organization: OrganizationId, other_organization: OrganizationId
) -> None:
    ledger = QuotaLedger(db)
    for source in ("provider", "estimated"):
        reservation = await ledger.reserve(organization, 100, **CALL)
        await ledger.commit(reservation, Usage(10, 5, source))
    await ledger.reserve(organization, 100, **CALL)
    [row] = await ledger.usage(organization, 7)
    assert (row.calls, row.prompt, row.completion, row.exact, row.user_id) == (2, 20, 10, False, "anna")
    assert await ledger.usage(other_organization, 7) == []
    assert (await ledger.today(other_organization)).used == 0


async def test_another_organisation_cannot_settle_a_reservation(
    db: Database, organization: OrganizationId, other_organization: OrganizationId
) -> None:
    from dataclasses import replace

    ledger = QuotaLedger(db)
    reservation = await ledger.reserve(organization, 100, **CALL)
    await ledger.release(replace(reservation, organization_id=other_organization))
    assert (await ledger.today(organization)).reserved == 100
