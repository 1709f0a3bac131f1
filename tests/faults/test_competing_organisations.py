"""20 organisations and one slow provider: the bound holds, nobody is starved by who asks most."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage

from domain.errors import ProviderBusy
from domain.ids import OrganizationId, UserId, new_id
from providers.admission import Admission
from providers.call import Need, Origin, Retraction
from providers.meter import Meter
from providers.route import Candidate, Route
from providers.stream import stream_chat
from storage.database import Database
from storage.invariants import violations
from tests.faults.conftest import Calling
from tests.upstream.reply import Reply
from tests.upstream.server import Upstream

PLACES = 4
GREEDY, MODEST = 50, 2


@pytest.fixture
def slow() -> Iterator[Upstream]:
    with Upstream(lambda body: Reply([f"{n} " for n in range(5)], prompt_tokens=10, completion_tokens=5)) as upstream:
        upstream.chunk_seconds = 0.01
        yield upstream


async def test_a_flood_waits_for_itself(calling: Calling, slow: Upstream, db: Database, owner_dsn: str) -> None:
    admission = Admission({"ollama": PLACES})
    caller, providers = calling({"OLLAMA_BASE_URL": slow.url}, admission)
    route = Route((Candidate("ollama", "qwen3:8b", "default_order", "local", 0, 0),), ())
    organizations = [OrganizationId(new_id()) for _ in range(20)]
    under_way, most, order = 0, 0, []

    async def attempt(candidate: Candidate, meter: Meter) -> AsyncIterator[AIMessageChunk]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            model = providers.chat(candidate.provider, candidate.model)
            async for chunk in stream_chat(
                model, candidate.provider, [HumanMessage("count")], tools=None, known_tools=set(), meter=meter
            ):
                yield chunk
        finally:
            under_way -= 1

    async def call(organization: OrganizationId) -> None:
        text = ""
        async for piece in caller.stream(
            Origin(organization, UserId("ann"), "main"), route, Need(10), attempt, seconds=60
        ):
            assert not isinstance(piece, Retraction)
            text += piece.text
        assert text == "0 1 2 3 4 "
        order.append(organization)

    await call(organizations[1])  # the first one imports the vendor's package
    order.clear()
    async with asyncio.TaskGroup() as group:
        for _ in range(GREEDY):
            group.create_task(call(organizations[0]))
        await asyncio.sleep(0)  # the flood is there first
        for organization in organizations[1:]:
            for _ in range(MODEST):
                group.create_task(call(organization))
    assert most == PLACES
    assert Counter(order) == {organizations[0]: GREEDY} | dict.fromkeys(organizations[1:], MODEST)
    assert (admission.active("ollama"), admission.depth("ollama")) == (0, 0)
    # Round by round every organisation that waits has a place; the ends of a round's calls may cross.
    first, last = PLACES + len(organizations), PLACES + MODEST * len(organizations)
    assert set(organizations[1:]) <= set(order[: first + PLACES])
    assert Counter(order[: last + PLACES])[organizations[0]] <= 2 * PLACES + MODEST
    assert set(order[last + PLACES :]) == {organizations[0]}
    assert violations(owner_dsn) == []


async def test_a_deadline_in_the_queue_is_a_typed_refusal_that_costs_nothing(
    calling: Calling, slow: Upstream, db: Database, owner_dsn: str
) -> None:
    admission = Admission({"ollama": 1})
    caller, _ = calling({"OLLAMA_BASE_URL": slow.url}, admission)
    route = Route((Candidate("ollama", "qwen3:8b", "default_order", "local", 0, 0),), ())
    organization = OrganizationId(new_id())

    def attempt(candidate: Candidate, meter: Meter) -> AsyncIterator[AIMessageChunk]:
        raise AssertionError("it had no place")

    async with admission.slot("ollama", organization, seconds=1):
        with pytest.raises(ProviderBusy) as busy:
            async for _ in caller.stream(
                Origin(organization, UserId("ann"), "main"), route, Need(10), attempt, seconds=0.1
            ):
                pass
    assert busy.value.details["limit"] == 1
    assert slow.requests == []
    assert (await caller.ledger.today(organization)).used == 0
    assert violations(owner_dsn) == []
