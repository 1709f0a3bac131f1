"""What a call holds is given back however it ends: its stream, its place, its probe, its tokens; and it ends when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator

import psycopg
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from psycopg_pool import PoolClosed

from domain.breaker import BreakerPolicy
from domain.errors import ProviderUnavailable, TimedOut
from domain.ids import OrganizationId, UserId
from providers.admission import Admission
from providers.breaker import Breakers
from providers.call import Need, Origin
from providers.caller import Caller
from providers.embedder import Embedder
from providers.estimate import OutputEstimates
from providers.latency import Latencies
from providers.meter import Meter
from providers.route import Candidate, Route
from providers.stream import stream_chat
from storage.breakers import BreakerStore
from storage.database import Database, open_pool
from storage.embedding_cache import EmbeddingCache
from storage.invariants import violations
from storage.model_calls import ModelCalls
from storage.quota import QuotaLedger
from tests.faults.conftest import Calling, waits_for_lock
from tests.upstream.reply import fixed
from tests.upstream.server import Upstream

DOWN = ProviderUnavailable("ollama", "failed with HTTP 500", http_status=500, reason="http_status")


def candidate(provider: str, model: str) -> Candidate:
    return Candidate(provider, model, "default_order", "local", 0, 0)


@pytest.fixture
def origin(organization: OrganizationId) -> Origin:
    return Origin(organization, UserId("ann"), "main")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(fixed("one ", "two ", "three")) as server:
        yield server


async def test_a_provider_has_three_attempts_with_all_its_models(
    calling: Calling, upstream: Upstream, origin: Origin
) -> None:
    """And what it asks to wait holds for all of them."""
    caller, providers = calling({"OLLAMA_BASE_URL": upstream.url}, Admission({}))
    route = Route((candidate("ollama", "qwen3:8b"), candidate("ollama", "llama3.1:8b")), ())

    def attempt(chosen: Candidate, meter: Meter) -> AsyncGenerator[AIMessageChunk, None]:
        model = providers.chat(chosen.provider, chosen.model)
        return stream_chat(model, chosen.provider, [HumanMessage("?")], tools=None, known_tools=set(), meter=meter)  # type: ignore[return-value]

    upstream.fail("server_error", times=50)
    with pytest.raises(ProviderUnavailable):
        async for _ in caller.stream(origin, route, Need(10), attempt, seconds=20):
            pass
    assert len(upstream.requests) == 3
    upstream.heal()
    upstream.requests.clear()
    upstream.fail("rate_limit", retry_after=30)
    with pytest.raises(Exception, match="too many requests"):
        async for _ in caller.stream(origin, route, Need(10), attempt, seconds=10):
            pass
    assert len(upstream.requests) == 1, "the other model is not asked before the provider's time"


async def test_who_leaves_has_closed_the_stream_before_its_place_is_free(calling: Calling, origin: Origin) -> None:
    admission = Admission({"ollama": 1})
    caller, _ = calling({}, admission)
    opened: list[AsyncGenerator[str, None]] = []
    held: list[int] = []

    async def answer() -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "more"
        finally:
            held.append(admission.active("ollama"))

    def attempt(chosen: Candidate, meter: Meter) -> AsyncGenerator[str, None]:
        opened.append(answer())
        return opened[-1]

    pieces = caller.stream(origin, Route((candidate("ollama", "m"),), ()), Need(10), attempt, seconds=10)
    assert await anext(pieces) == "more"
    await pieces.aclose()
    assert held == [1], "closed, and while it still had its place"
    assert admission.active("ollama") == 0


async def test_a_probe_ends_also_where_the_ledger_is_away(app_dsn: str, db: Database, origin: Origin) -> None:
    """Or its provider would be left alone until the probe is given up, two minutes later."""
    own = open_pool(app_dsn, min_size=1, max_size=2)
    await own.open()
    breakers = Breakers(BreakerStore(db), BreakerPolicy(failures=1, open_seconds=0.01))
    caller = Caller(
        ledger=QuotaLedger(Database(own)), calls=ModelCalls(Database(own)), breakers=breakers, admission=Admission({}),
        latencies=Latencies(), estimates=OutputEstimates(), output_tokens=50,
    )  # fmt: skip
    await breakers.failed(await breakers.enter("ollama"), DOWN)
    assert await breakers.turn(["ollama"], 5)

    async def attempt(chosen: Candidate, meter: Meter) -> AsyncGenerator[str, None]:
        assert breakers.view("ollama").status == "half_open"
        meter.received("an answer")
        yield "an answer"
        await own.close()

    with pytest.raises(PoolClosed):
        async for _ in caller.stream(origin, Route((candidate("ollama", "m"),), ()), Need(10), attempt, seconds=10):
            pass
    assert breakers.view("ollama").status == "closed"


async def test_tokens_that_are_granted_to_who_has_left_twice_are_given_back(
    calling: Calling, origin: Origin, owner_dsn: str
) -> None:
    """Cancelled while the reservation waits for a lock, and once more before it is there."""
    caller, _ = calling({}, Admission({}))
    await caller.ledger.reserve(
        origin.organization_id, 10, user_id=origin.user_id, agent="main", provider="ollama", model="m"
    )

    async def attempt(chosen: Candidate, meter: Meter) -> AsyncGenerator[str, None]:
        raise AssertionError("it had left")
        yield ""

    async def call() -> None:
        async for _ in caller.stream(origin, Route((candidate("ollama", "m"),), ()), Need(10), attempt, seconds=30):
            pass

    async with await psycopg.AsyncConnection.connect(owner_dsn) as locker:
        await locker.execute("SELECT FROM quota_days FOR UPDATE")
        calling_ = asyncio.create_task(call())
        await waits_for_lock(owner_dsn)
        for _ in range(2):
            calling_.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        assert not calling_.done()
    with pytest.raises(asyncio.CancelledError):
        await calling_
    with psycopg.connect(owner_dsn) as conn:
        held = conn.execute("SELECT status, reserved FROM usage_ledger ORDER BY created_at").fetchall()
    assert [status for status, _ in held] == ["reserved", "released"]
    assert violations(owner_dsn) == []


async def test_embeddings_end_when_their_time_is_over(
    calling: Calling, upstream: Upstream, db: Database, origin: Origin, owner_dsn: str
) -> None:
    """Which says nothing of the provider: somebody in a hurry doesn't open its breaker for all."""
    caller, providers = calling({"OLLAMA_BASE_URL": upstream.url}, Admission({}))
    embedder = Embedder(providers, caller, EmbeddingCache(db, 60))
    route = Route((candidate("ollama", "qwen3-embedding:0.6b"),), ())
    await embedder.embed(origin, route, ["the first imports the HTTP client"], seconds=30)
    upstream.fail("silent")
    with pytest.raises(TimedOut):
        await embedder.embed(origin, route, ["a text"], seconds=0.5)
    assert caller.breakers.view("ollama").failures == 0
    assert violations(owner_dsn) == []
    with psycopg.connect(owner_dsn) as conn:
        charged = conn.execute(
            "SELECT status, prompt, completion, source FROM usage_ledger ORDER BY created_at"
        ).fetchall()
    assert charged == [("committed", 6, 0, "provider"), ("committed", 2, 0, "estimated")], "it may have been read"
