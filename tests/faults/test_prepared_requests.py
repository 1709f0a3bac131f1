"""A request is prepared while its tokens are being reserved: it goes out with them, not before, and never without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import psycopg
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage

from domain.errors import ProviderUnavailable, QuotaExceeded
from domain.ids import OrganizationId, UserId
from providers.admission import Admission
from providers.call import Need, Opener, Origin
from providers.completion import chat_completion
from providers.meter import Meter
from providers.registry import Providers
from providers.route import Candidate, Route
from providers.stream import stream_chat
from providers.wire.openai import Chunk
from storage.invariants import violations
from tests.faults.conftest import KEY, WIRES, Calling, waits_for_lock
from tests.upstream.reply import fixed
from tests.upstream.server import Upstream

QUESTION = {"messages": [{"role": "user", "content": "?"}]}


def environ(wire: str, upstream: Upstream) -> dict[str, str]:
    url = upstream.openai_url if wire == "openai" else upstream.url
    return {f"{wire.upper()}_BASE_URL": url, f"{wire.upper()}_API_KEY": KEY}


def forwarded(providers: Providers) -> Opener[Chunk]:
    def attempt(chosen: Candidate, meter: Meter) -> AsyncGenerator[Chunk, None]:
        return chat_completion(providers, chosen, QUESTION, meter)

    return attempt


def through_its_class(providers: Providers) -> Opener[AIMessageChunk]:
    def attempt(chosen: Candidate, meter: Meter) -> AsyncGenerator[AIMessageChunk, None]:
        model = providers.chat(chosen.provider, chosen.model)
        return stream_chat(model, chosen.provider, [HumanMessage("?")], tools=None, known_tools=set(), meter=meter)  # type: ignore[return-value]

    return attempt


def route_to(wire: str) -> Route:
    return Route((Candidate(wire, "scripted", "default_order", "cloud", 0, 0),), ())


@pytest.fixture
def origin(organization: OrganizationId) -> Origin:
    return Origin(organization, UserId("ann"), "main")


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("opener", [forwarded, through_its_class])
async def test_it_waits_for_its_tokens(
    wire: str, opener: Callable[[Providers], Opener[Any]], calling: Calling, origin: Origin, owner_dsn: str
) -> None:
    with Upstream(fixed("one ", "two")) as upstream:
        caller, providers = calling(environ(wire, upstream), Admission({}))
        attempt = opener(providers)
        await caller.ledger.reserve(
            origin.organization_id, 10, user_id=origin.user_id, agent="main", provider=wire, model="scripted"
        )

        async def answer() -> int:
            pieces = caller.stream(origin, route_to(wire), Need(10), attempt, seconds=30, prepares=True)
            return len([piece async for piece in pieces])

        async with await psycopg.AsyncConnection.connect(owner_dsn) as locker:
            await locker.execute("SELECT FROM quota_days FOR UPDATE")
            answering = asyncio.create_task(answer())
            await waits_for_lock(owner_dsn)
            await asyncio.sleep(0.2)  # time enough to prepare, and to send what must not be sent
            assert upstream.requests == []
            assert not answering.done()
        assert await answering > 0
        assert len(upstream.requests) == 1
    assert violations(owner_dsn) == []


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("opener", [forwarded, through_its_class])
async def test_without_tokens_nothing_is_sent(
    wire: str, opener: Callable[[Providers], Opener[Any]], calling: Calling, origin: Origin, owner_dsn: str
) -> None:
    with Upstream(fixed("one ", "two")) as upstream:
        caller, providers = calling(environ(wire, upstream), Admission({}))
        await caller.ledger.set_limit(origin.organization_id, 5)
        with pytest.raises(QuotaExceeded):
            async for _ in caller.stream(
                origin, route_to(wire), Need(10), opener(providers), seconds=30, prepares=True
            ):
                pass
        assert upstream.requests == []
        await caller.ledger.clear_limit(origin.organization_id)
        async for _ in caller.stream(origin, route_to(wire), Need(10), opener(providers), seconds=30, prepares=True):
            pass
        assert len(upstream.requests) == 1
    assert caller.breakers.view(wire).failures == 0
    assert violations(owner_dsn) == []


async def test_a_provider_that_is_away_is_told_of_and_costs_nothing(
    calling: Calling, origin: Origin, owner_dsn: str, unused_tcp_port: int
) -> None:
    """The connection fails while the tokens are being reserved."""
    caller, providers = calling({"OPENAI_BASE_URL": f"http://127.0.0.1:{unused_tcp_port}/v1"}, Admission({}))
    with pytest.raises(ProviderUnavailable):
        async for _ in caller.stream(
            origin, route_to("openai"), Need(10), forwarded(providers), seconds=1, prepares=True
        ):
            pass
    with psycopg.connect(owner_dsn) as conn:
        assert {status for (status,) in conn.execute("SELECT status FROM usage_ledger")} == {"released"}
    assert violations(owner_dsn) == []
