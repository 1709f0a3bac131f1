"""Limits of organisations, users and models at once: all or none, exact in parallel, given back on every one of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import pytest
from psycopg import connect
from psycopg.rows import dict_row

from domain.calls import CallRecord
from domain.errors import QuotaExceeded
from domain.ids import OrganizationId, RunId, UserId, new_id
from domain.quota import model_subject
from domain.usage import Usage
from storage.database import Database, open_pool
from storage.model_calls import ModelCalls
from storage.quota import LimitChange, QuotaLedger, Reservation

ANN, BOB = UserId("ann"), UserId("bob")
USERS = [ANN, BOB, UserId("cy")]
MODELS = ["gpt-4o", "gpt-4o-mini"]
ORGANIZATION_LIMIT, USER_LIMIT, MODEL_LIMIT = 8_000, 3_000, 3_500


def call(user: UserId = ANN, model: str = "gpt-4o") -> dict[str, Any]:
    return {"user_id": user, "agent": "main", "provider": "openai", "model": model}


def rows(owner_dsn: str, sql: str) -> list[dict[str, Any]]:
    with connect(owner_dsn, row_factory=dict_row) as conn:
        return conn.execute(sql.encode()).fetchall()


def assert_books_balance(owner_dsn: str) -> None:
    """Every day's row of an organisation, a user and a model is what the ledger says (invariant I4)."""
    for table, match in (
        ("quota_days", "true"),
        (
            "quota_subject_days",
            """d.subject = CASE d.scope WHEN 'user' THEN l.user_id
                            ELSE l.provider || '/' || coalesce(l.reserved_model, l.model) END""",
        ),
    ):
        wrong = rows(
            owner_dsn,
            f"""SELECT d.*, s.* FROM {table} d LEFT JOIN LATERAL (
                    SELECT coalesce(sum(prompt + completion) FILTER (WHERE status = 'committed'), 0) AS spent,
                           coalesce(sum(l.reserved) FILTER (WHERE status = 'reserved'), 0) AS held
                    FROM usage_ledger l WHERE l.organization_id = d.organization_id AND l.day = d.day AND {match}) s ON true
                WHERE d.used <> s.spent OR d.reserved <> s.held""",
        )
        assert wrong == [], table


@pytest.fixture
async def wide(app_dsn: str) -> AsyncIterator[Database]:
    """A pool of as many connections as it takes for statements to meet in the database."""
    async with open_pool(app_dsn, min_size=40, max_size=40) as pool:
        await pool.wait()
        yield Database(pool)


async def limited(ledger: QuotaLedger, organization: OrganizationId) -> None:
    await ledger.change(
        organization,
        [
            LimitChange("organization", "", ORGANIZATION_LIMIT),
            LimitChange("user", "*", USER_LIMIT),
            LimitChange("model", model_subject("openai", "gpt-4o"), MODEL_LIMIT),
        ],
    )


def watch(owner_dsn: str) -> None:
    """Judge every state a row ever has, not only the last."""
    with connect(owner_dsn, autocommit=True) as conn:
        for table, limit in (
            ("quota_days", str(ORGANIZATION_LIMIT)),
            ("quota_subject_days", f"(CASE NEW.scope WHEN 'user' THEN {USER_LIMIT} ELSE {MODEL_LIMIT} END)"),
        ):
            conn.execute(
                f"""CREATE FUNCTION watch_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF NEW.reserved > OLD.reserved AND NEW.used + NEW.reserved > {limit} THEN RAISE EXCEPTION 'over'; END IF;
                    RETURN NEW; END $$""".encode()
            )
            conn.execute(
                f"CREATE TRIGGER watch AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION watch_{table}()".encode()
            )


async def test_mixed_scopes_in_parallel_are_exact_and_never_deadlock(
    wide: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    """200 calls of three users and two models, settled in every way, while runs die and limits change."""
    ledger, rng = QuotaLedger(wide), random.Random(7)
    await limited(ledger, organization)
    watch(owner_dsn)
    spent: dict[str, int] = {"": 0, **dict.fromkeys([*USERS, *MODELS], 0)}
    runs = [RunId(new_id()) for _ in range(8)]

    async def one(n: int, user: UserId, model: str, end: str) -> str | None:
        run = runs[n % len(runs)] if end == "killed" else None
        try:
            held = await ledger.reserve(organization, 100, run_id=run, **call(user, model))
        except QuotaExceeded as refused:
            return str(refused.details["scope"])
        if end == "commit":
            await ledger.commit(held, Usage(20, 40, "provider"))
            for key in ("", user, model):
                spent[key] += 60
        elif end == "release":
            await ledger.release(held)
        elif end == "killed" and n % 2:
            await ledger.release_run(organization, runs[n % len(runs)])
        elif end == "late":
            await ledger.release(held)
            await ledger.commit(held, Usage(1, 1, "estimated"))
            for key in ("", user, model):
                spent[key] += 2
        if n % 10 == 0:
            await ledger.set_limit(organization, USER_LIMIT, scope="user", subject=rng.choice(USERS))
        return None

    ends = ["commit", "commit", "release", "killed", "late"]
    calls = [(n, rng.choice(USERS), rng.choice(MODELS), rng.choice(ends)) for n in range(200)]
    async with asyncio.timeout(60):
        refused = await asyncio.gather(*(one(*each) for each in calls))
        assert_books_balance(owner_dsn)
        await asyncio.gather(*(ledger.release_run(organization, run) for run in runs))
    assert_books_balance(owner_dsn)
    today = await ledger.today(organization)
    assert (today.used, today.reserved) == (spent[""], 0)
    for row in rows(owner_dsn, "SELECT * FROM quota_subject_days"):
        assert (row["used"], row["reserved"]) == (spent[row["subject"].removeprefix("openai/")], 0)
    assert None in refused


async def test_every_limit_is_used_to_its_last_token(
    wide: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    ledger = QuotaLedger(wide)
    await limited(ledger, organization)
    tries = [(user, model) for user in USERS for model in MODELS] * 34
    results = await asyncio.gather(
        *(ledger.reserve(organization, 100, **call(user, model)) for user, model in tries), return_exceptions=True
    )
    assert all(isinstance(result, Reservation | QuotaExceeded) for result in results), results
    held = {row["subject"]: row["reserved"] for row in rows(owner_dsn, "SELECT * FROM quota_subject_days")}
    assert (await ledger.today(organization)).reserved == ORGANIZATION_LIMIT
    assert sum(held[user] for user in USERS) == ORGANIZATION_LIMIT
    assert all(held[user] <= USER_LIMIT for user in USERS)
    assert held["openai/gpt-4o"] <= MODEL_LIMIT
    assert_books_balance(owner_dsn)


@pytest.mark.parametrize("scope", ["organization", "user", "model"])
async def test_a_refusal_names_the_limit_and_holds_nothing(
    db: Database, owner_dsn: str, organization: OrganizationId, scope: Any
) -> None:
    subject = {"organization": "", "user": "ann", "model": "openai/gpt-4o"}[scope]
    ledger = QuotaLedger(db)
    for other, name in (("organization", ""), ("user", "ann"), ("model", "openai/gpt-4o")):
        await ledger.set_limit(organization, 60 if other == scope else 1_000, scope=other, subject=name)  # type: ignore[arg-type]
    kept = await ledger.reserve(organization, 40, **call())
    with pytest.raises(QuotaExceeded) as refused:
        await ledger.reserve(organization, 21, **call())
    told = refused.value.details
    assert told["scope"] == scope
    assert told["subject"] == (subject or None)
    assert (told["limit"], told["used"], told["reserved"], told["requested"]) == (60, 0, 40, 21)
    assert refused.value.resets_at.astimezone(UTC).hour == 0
    assert subject in refused.value.message
    assert not refused.value.waits
    assert_books_balance(owner_dsn)
    await ledger.release(kept)
    await ledger.reserve(organization, 60, **call())
    assert_books_balance(owner_dsn)


async def test_a_users_own_limit_goes_before_everyones(db: Database, organization: OrganizationId) -> None:
    ledger = QuotaLedger(db)
    await ledger.set_limit(organization, 10, scope="user", subject="*")
    await ledger.set_limit(organization, 50, scope="user", subject="ann")
    await ledger.set_limit(organization, None, scope="user", subject="cy")
    await ledger.reserve(organization, 50, **call(ANN))
    await ledger.reserve(organization, 10**6, **call(UserId("cy")))
    with pytest.raises(QuotaExceeded) as refused:
        await ledger.reserve(organization, 11, **call(BOB))
    assert (refused.value.details["subject"], refused.value.details["limit"]) == ("bob", 10)
    await ledger.clear_limit(organization, scope="user", subject="ann")
    with pytest.raises(QuotaExceeded):
        await ledger.reserve(organization, 1, **call(ANN))


async def test_a_limit_set_at_noon_counts_the_morning(
    db: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    ledger = QuotaLedger(db)
    await ledger.commit(await ledger.reserve(organization, 100, **call()), Usage(30, 30, "provider"), model="gpt-4o-x")
    open_since_morning = await ledger.reserve(organization, 20, **call())
    await ledger.reserve(organization, 500, **call(BOB, "gpt-4o-mini"))
    await ledger.set_limit(organization, 100, scope="user", subject="ann")
    await ledger.set_limit(organization, 90, scope="model", subject="openai/gpt-4o")
    with pytest.raises(QuotaExceeded) as refused:
        await ledger.reserve(organization, 11, **call())
    assert refused.value.details["scope"] == "model"
    assert (refused.value.details["used"], refused.value.details["reserved"]) == (60, 20)
    await ledger.commit(open_since_morning, Usage(1, 1, "provider"))
    await ledger.reserve(organization, 28, **call())
    assert_books_balance(owner_dsn)
    shown = {(one.scope, one.subject): one for one in await ledger.subjects(organization, ANN)}
    assert (shown["user", "ann"].used, shown["user", "ann"].reserved, shown["user", "ann"].remaining) == (62, 28, 10)


async def test_a_limit_that_comes_while_calls_are_under_way(
    wide: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    """The first reservations under a new limit make its row from the ledger, while others are being made and settled."""
    ledger = QuotaLedger(wide)

    async def one(n: int) -> None:
        if n == 60:
            await ledger.set_limit(organization, 10**6, scope="user", subject="*")
            await ledger.set_limit(organization, 10**6, scope="model", subject="openai/gpt-4o")
        held = await ledger.reserve(organization, 100, **call(USERS[n % 3]))
        if n % 3:
            await ledger.commit(held, Usage(5, n, "provider"))
        else:
            await ledger.release(held)

    await asyncio.gather(*(one(n) for n in range(200)))
    assert rows(owner_dsn, "SELECT count(*) AS n FROM quota_subject_days")[0]["n"] >= 1
    assert_books_balance(owner_dsn)


async def test_the_dead_give_back_on_all_scopes(db: Database, owner_dsn: str, organization: OrganizationId) -> None:
    ledger, run = QuotaLedger(db), RunId(new_id())
    await limited(ledger, organization)
    for user in (ANN, BOB):
        await ledger.reserve(organization, 10, run_id=run, **call(user))
        await ledger.reserve(organization, 10, ttl_seconds=-1, **call(user))
        await ledger.reserve(organization, 5, **call(user))
    assert await ledger.release_run(organization, run) == 2
    assert await ledger.sweep() == 2
    held = rows(owner_dsn, "SELECT scope, subject, reserved FROM quota_subject_days ORDER BY scope, subject")
    assert [row["reserved"] for row in held] == [10, 5, 5]
    assert_books_balance(owner_dsn)


async def test_a_repeated_reservation_takes_nothing_again(
    db: Database, owner_dsn: str, organization: OrganizationId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a lost connection the same statement is sent again: it may have been executed."""
    ledger = QuotaLedger(db)
    await limited(ledger, organization)
    monkeypatch.setattr("storage.quota.new_id", lambda: "11111111-1111-4111-8111-111111111111")
    first = await ledger.reserve(organization, 2_000, **call())
    assert await ledger.reserve(organization, 2_000, **call()) == first, "also where the limit would not allow it twice"
    await ledger.set_limit(organization, 10**6, scope="user", subject="ann")
    await ledger.set_limit(organization, 10**6, scope="model", subject="openai/gpt-4o")
    assert await ledger.reserve(organization, 2_000, **call()) == first
    assert (await ledger.today(organization)).reserved == 2_000
    assert_books_balance(owner_dsn)


async def test_the_ledger_and_the_calls_record_are_written_together(
    db: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    ledger, run, call_id = QuotaLedger(db), RunId(new_id()), new_id()
    held = await ledger.reserve(organization, 100, run_id=run, call_id=call_id, purpose="summary", **call())
    record = CallRecord(
        call_id=call_id, organization_id=organization, user_id=ANN, run_id=run, thread_id=None, trace_id=None, agent="main",
        purpose="summary", outcome="answered", provider="openai", model="gpt-4o", error_code=None, latency_ms=5, policy={},
        candidates=[], eliminations=[], attempts=[],
    )  # fmt: skip
    broken = record.model_copy(update={"latency_ms": -1})
    with pytest.raises(Exception, match="latency_ms"):
        await ledger.commit(held, Usage(1, 2, "provider"), record=broken)
    assert (await ledger.today(organization)).reserved == 100
    await ledger.commit(held, Usage(1, 2, "provider"), record=record)
    assert [stored.record for stored in await ModelCalls(db).of_run(organization, run)] == [record]
    assert (await ledger.today(organization)).used == 3
    [entry] = rows(owner_dsn, "SELECT call_id, purpose, status FROM usage_ledger")
    assert (str(entry["call_id"]), entry["purpose"], entry["status"]) == (call_id, "summary", "committed")


async def test_what_exhaustion_does_comes_with_the_refusal(db: Database, organization: OrganizationId) -> None:
    ledger = QuotaLedger(db, 100)
    await ledger.change(organization, [], on_exhausted="wait")
    assert (await ledger.today(organization)).on_exhausted == "wait"
    await ledger.reserve(organization, 60, **call())
    with pytest.raises(QuotaExceeded) as refused:
        await ledger.reserve(organization, 60, **call())
    assert refused.value.waits
    with pytest.raises(QuotaExceeded) as refused:
        await ledger.reserve(organization, 101, **call())
    assert not refused.value.waits, "no day will ever have so many"
    await ledger.change(organization, [], on_exhausted="refuse")
    with pytest.raises(QuotaExceeded) as refused:
        await ledger.reserve(organization, 60, **call())
    assert not refused.value.waits


async def test_where_everybody_stands(
    db: Database, organization: OrganizationId, other_organization: OrganizationId
) -> None:
    ledger = QuotaLedger(db, 1_000)
    await ledger.commit(await ledger.reserve(organization, 100, **call(BOB)), Usage(4, 6, "provider"))
    await ledger.reserve(organization, 7, **call(ANN))
    [own] = await ledger.subjects(organization, ANN)
    assert (own.scope, own.subject, own.limit, own.source, own.used, own.reserved) == ("user", "ann", None, None, 0, 7)
    await limited(ledger, organization)
    await ledger.set_limit(organization, 20, scope="user", subject="bob")
    mine = await ledger.subjects(organization, ANN)
    assert [(one.subject, one.limit, one.source) for one in mine] == [
        ("ann", USER_LIMIT, "default"),
        ("openai/gpt-4o", MODEL_LIMIT, "own"),
    ]
    assert (mine[1].used, mine[1].reserved) == (10, 7)
    everyone = {one.subject: one for one in await ledger.subjects(organization, ANN, everyone=True)}
    assert set(everyone) == {"ann", "bob", "*", "openai/gpt-4o"}
    assert (everyone["*"].limit, everyone["*"].used, everyone["*"].remaining) == (USER_LIMIT, None, None)
    assert (everyone["bob"].used, everyone["bob"].remaining) == (10, 10)
    assert [one.used for one in await ledger.subjects(other_organization, BOB, everyone=True)] == [0]


async def test_recent_completions_are_counts_of_all_organisations(
    db: Database, organization: OrganizationId, other_organization: OrganizationId
) -> None:
    ledger = QuotaLedger(db)
    for n in range(4):
        for each in (organization, other_organization):
            held = await ledger.reserve(each, 100, **call())
            await ledger.commit(held, Usage(1, n, "provider"))
    await ledger.reserve(organization, 100, **call())
    await ledger.commit(await ledger.reserve(organization, 9, purpose="summary", **call(BOB)), Usage(1, 99, "provider"))
    recent = await ledger.recent_completions(each=6)
    assert [one.completion for one in recent] == [1, 1, 2, 2, 3, 3]
    assert {(one.agent, one.provider, one.model) for one in recent} == {("main", "openai", "gpt-4o")}
