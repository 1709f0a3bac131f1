"""A circuit breaker shared by replicas through Postgres: all know that it opened, one of all probes, all know how that ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from domain.breaker import BreakerPolicy
from domain.errors import CircuitOpen, ProviderRejected, ProviderUnavailable
from providers.breaker import Breakers, Permit
from storage.breakers import BreakerStore
from storage.database import Database, open_pool

POLICY = BreakerPolicy(failures=5, open_seconds=0.4, longest_seconds=5, probe_seconds=0.5)
LONG = BreakerPolicy(failures=5, open_seconds=600, longest_seconds=600, probe_seconds=120)
DOWN = ProviderUnavailable("openai", "failed with HTTP 500", http_status=500, reason="http_status")


class Replicas:
    """As many as asked for, each with connections of its own."""

    def __init__(self, app_dsn: str) -> None:
        self._app_dsn = app_dsn
        self._closing: list[tuple[Breakers, Database]] = []

    async def start(self, count: int, policy: BreakerPolicy) -> list[Breakers]:
        started = []
        for _ in range(count):
            pool = open_pool(self._app_dsn, min_size=1, max_size=4)
            await pool.open()
            breakers = Breakers(BreakerStore(Database(pool)), policy)
            await breakers.start()
            self._closing.append((breakers, Database(pool)))
            started.append(breakers)
        return started

    async def stop(self) -> None:
        for breakers, db in self._closing:
            await breakers.stop()
            await db.pool.close()


@pytest.fixture
async def replicas(app_dsn: str) -> AsyncIterator[Replicas]:
    made = Replicas(app_dsn)
    yield made
    await made.stop()


async def fail(breakers: Breakers, times: int = 1) -> None:
    for _ in range(times):
        await breakers.failed(await breakers.enter("openai"), DOWN)


async def heard(breakers: Breakers, status: str) -> None:
    """Wait until a replica has heard of it."""
    async with asyncio.timeout(10):
        while breakers.view("openai").status != status:
            await asyncio.sleep(0.005)


async def refused(breakers: Breakers) -> bool:
    try:
        await breakers.enter("openai")
    except CircuitOpen:
        return True
    return False


async def test_failures_of_all_replicas_count_together_and_all_hear_of_it(replicas: Replicas) -> None:
    a, b, c = await replicas.start(3, LONG)
    await fail(a, 2)
    await fail(b, 2)
    assert [one.view("openai").status for one in (a, b, c)] == ["closed"] * 3
    await fail(a)
    assert a.view("openai").status == "open"
    for one in (b, c):
        await heard(one, "open")
        assert await refused(one)
        assert one.view("openai").retry_at == a.view("openai").retry_at
        assert one.view("anthropic").status == "closed"


async def test_one_of_all_probes_and_the_rest_wait_for_its_verdict(replicas: Replicas) -> None:
    three = await replicas.start(3, POLICY)
    await fail(three[0], 5)
    for one in three:
        await heard(one, "open")
        assert await one.turn(["openai"], 5)
    entered = await asyncio.gather(*(one.enter("openai") for one in three * 10), return_exceptions=True)
    probes = [permit for permit in entered if isinstance(permit, Permit)]
    assert len(probes) == 1
    assert probes[0].probe is not None
    assert all(isinstance(other, (Permit, CircuitOpen)) for other in entered)
    owner = next(one for one, permit in zip(three * 10, entered, strict=True) if permit is probes[0])
    waiting = [asyncio.create_task(one.turn(["openai"], 5)) for one in three]
    await owner.succeeded(probes[0])
    assert await asyncio.gather(*waiting) == [True] * 3, "who waited hears of the good end at once"
    for one in three:
        await heard(one, "closed")
        assert (await one.enter("openai")).probe is None


async def test_a_failed_probe_opens_it_for_all_twice_as_long(replicas: Replicas) -> None:
    a, b = await replicas.start(2, POLICY)
    await fail(a, 5)
    assert await a.turn(["openai"], 5)
    permit = await a.enter("openai")
    await heard(b, "half_open")
    assert await refused(b)
    await a.failed(permit, DOWN)
    await heard(b, "open")
    wait = b.next_retry(["openai"])
    assert wait is not None
    assert POLICY.open_seconds < wait <= 2 * POLICY.open_seconds


async def test_a_probe_that_was_left_makes_room_at_once(replicas: Replicas) -> None:
    a, b = await replicas.start(2, POLICY)
    await fail(a, 5)
    assert await a.turn(["openai"], 5)
    await a.abandoned(await a.enter("openai"))
    await heard(b, "open")
    assert await b.turn(["openai"], 5)
    assert (await b.enter("openai")).probe is not None


async def test_a_probe_whose_process_died_is_given_up(replicas: Replicas) -> None:
    a, b = await replicas.start(2, POLICY)
    await fail(a, 5)
    assert await a.turn(["openai"], 5)
    dead = await a.enter("openai")
    await heard(b, "half_open")
    assert await b.turn(["openai"], 5)
    taken = await b.enter("openai")
    assert taken.probe is not None
    await a.failed(dead, DOWN)
    assert b.view("openai").status == "half_open", "who was given up has no say"
    await b.succeeded(taken)
    await heard(a, "closed")


async def test_what_is_not_the_providers_fault_is_no_verdict(replicas: Replicas) -> None:
    [a] = await replicas.start(1, POLICY)
    refusal = ProviderRejected("openai", "refused the request", http_status=400, reason="request")
    for _ in range(10):
        await a.failed(await a.enter("openai"), refusal)
    assert a.view("openai").failures == 0
    await fail(a, 5)
    assert await a.turn(["openai"], 5)
    await a.failed(await a.enter("openai"), refusal)
    assert await a.turn(["openai"], 5)
    assert (await a.enter("openai")).probe is not None


async def test_a_replica_that_starts_later_knows(replicas: Replicas) -> None:
    [a] = await replicas.start(1, LONG)
    await fail(a, 5)
    [late] = await replicas.start(1, LONG)
    assert await refused(late)
    assert not await late.turn(["openai"], 0.5)


async def test_a_listener_whose_connection_was_killed_hears_again(replicas: Replicas, owner_dsn: str) -> None:
    a, b = await replicas.start(2, LONG)
    with psycopg.connect(owner_dsn, autocommit=True) as conn:
        killed = conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'consilium_app'"
        ).fetchall()
    assert killed
    await fail(a, 5)
    assert a.view("openai").status == "open"
    await heard(b, "open")


async def test_without_a_database_it_goes_on_from_memory(replicas: Replicas) -> None:
    [a] = await replicas.start(1, POLICY)
    await a._store._db.pool.close()
    await fail(a, 5)
    assert await refused(a)
    assert await a.turn(["openai"], 5)
    permit = await a.enter("openai")
    assert permit.probe is not None
    assert await refused(a)
    await a.succeeded(permit)
    assert not await refused(a)
