"""Request rates: exact in parallel and across replicas, all limits or none, no statement where none applies."""

from __future__ import annotations

import asyncio
import time

import pytest
from psycopg import connect

from domain.errors import RateLimited
from domain.ids import OrganizationId, UserId
from storage.database import Database
from storage.rate import CACHE_SECONDS, RateChange, RateLimits, Rates

ANN, BOB = UserId("ann"), UserId("bob")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pass_seconds(owner_dsn: str, seconds: float) -> None:
    """For the limits, time is where `tat` lies."""
    with connect(owner_dsn, autocommit=True) as conn:
        conn.execute("UPDATE rate_states SET tat = tat - make_interval(secs => %s)", [seconds])


async def count(rates: RateLimits, organization: OrganizationId, times: int, user: UserId = ANN) -> int:
    """How many of these parallel requests were let in."""
    results = await asyncio.gather(
        *(rates.admit(organization, user, None) for _ in range(times)), return_exceptions=True
    )
    assert all(result is None or isinstance(result, RateLimited) for result in results), results
    return sum(result is None for result in results)


async def test_a_minutes_requests_at_once_then_evenly(
    db: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    rates = RateLimits(db, Rates(user=2))
    assert await count(rates, organization, 10) == 2
    with pytest.raises(RateLimited) as refused:
        await rates.admit(organization, ANN, None)
    assert refused.value.details["scope"] == "user"
    assert refused.value.details["limit"] == 2
    assert 25 < refused.value.retry_after <= 30
    pass_seconds(owner_dsn, refused.value.retry_after)
    assert await count(rates, organization, 5) == 1
    pass_seconds(owner_dsn, 3600)
    assert await count(rates, organization, 5) == 2


async def test_exact_over_replicas(db: Database, organization: OrganizationId) -> None:
    replicas = [RateLimits(db, Rates(organization=60, user=45)) for _ in range(4)]
    began = time.monotonic()
    admitted = sum(await asyncio.gather(*(count(replica, organization, 50, ANN) for replica in replicas)))
    both = admitted + await count(replicas[0], organization, 60, BOB)
    seconds = time.monotonic() - began
    assert 45 <= admitted <= 46 + seconds * 45 / 60
    assert 60 <= both <= 61 + seconds


async def test_what_one_limit_refuses_counts_for_none(
    db: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    rates = RateLimits(db, Rates(organization=3, user=1, model=1))
    await rates.admit(organization, ANN, "openai/a")
    for user, model, scope in ((ANN, "openai/b", "user"), (BOB, "openai/a", "model"), (BOB, "openai/a", "model")):
        with pytest.raises(RateLimited) as refused:
            await rates.admit(organization, user, model)
        assert refused.value.details["scope"] == scope
    await rates.admit(organization, BOB, "openai/b")
    await rates.admit(organization, UserId("cy"), None)
    with pytest.raises(RateLimited) as refused:
        await rates.admit(organization, UserId("di"), None)
    assert refused.value.details["scope"] == "organization"


async def test_organisations_do_not_share(
    db: Database, organization: OrganizationId, other_organization: OrganizationId
) -> None:
    rates = RateLimits(db, Rates(user=1))
    assert await count(rates, organization, 3) == 1
    assert await count(rates, other_organization, 3) == 1


async def test_own_limits_hold_here_at_once_and_elsewhere_soon(
    db: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    clock = Clock()
    here, there = RateLimits(db, Rates(user=4), clock=clock), RateLimits(db, Rates(user=4), clock=clock)
    assert await count(there, organization, 1) == 1
    await here.change(organization, [RateChange("user", 1), RateChange("organization", None)])
    assert await here.own(organization) == {"user": 1, "organization": None}
    assert await count(here, organization, 5) == 0
    assert await count(there, organization, 5) == 3
    pass_seconds(owner_dsn, 3600)
    clock.now += CACHE_SECONDS
    assert await count(there, organization, 5) == 1
    await here.change(organization, [RateChange("user", clear=True)])
    pass_seconds(owner_dsn, 3600)
    assert await count(here, organization, 5) == 4


async def test_without_a_limit_the_database_is_not_asked(db: Database, organization: OrganizationId) -> None:
    clock = Clock()
    rates = RateLimits(db, clock=clock)
    await rates.admit(organization, ANN, "openai/a")
    before = dict(db.pool.get_stats())["requests_num"]
    for _ in range(100):
        await rates.admit(organization, BOB, "openai/b")
    assert dict(db.pool.get_stats())["requests_num"] == before
    clock.now += CACHE_SECONDS
    await rates.admit(organization, ANN, None)
    assert dict(db.pool.get_stats())["requests_num"] == before + 1


async def test_subjects_of_long_ago_are_forgotten(db: Database, owner_dsn: str, organization: OrganizationId) -> None:
    rates = RateLimits(db, Rates(user=10))
    for n in range(5):
        await rates.admit(organization, UserId(f"user-{n}"), None)
    pass_seconds(owner_dsn, 7200)
    await rates.admit(organization, ANN, None)
    with connect(owner_dsn) as conn:
        assert conn.execute("SELECT subject FROM rate_states").fetchall() == [("ann",)]
