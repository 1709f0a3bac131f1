"""Places at a provider: bounded, fair between organisations, never lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import ProviderBusy
from domain.ids import OrganizationId
from providers.admission import Admission

ORGANIZATIONS = [OrganizationId(f"organisation-{n}") for n in range(4)]


class Calls:
    """Calls that hold their places until the test ends them."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.entered: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, name: str, organization: OrganizationId, seconds: float = 60) -> None:
        self.ends[name] = asyncio.Event()

        async def call() -> None:
            async with self.admission.slot("slow", organization, seconds=seconds):
                self.entered.append(name)
                await self.ends[name].wait()

        self.tasks[name] = asyncio.create_task(call())
        await settle()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)
        await settle()


async def settle() -> None:
    """Until everything that can go on has gone on."""
    for _ in range(6):
        await asyncio.sleep(0)


async def test_places_go_round_the_organisations_that_wait() -> None:
    a, b, c, _ = ORGANIZATIONS
    calls = Calls(Admission({"slow": 1}))
    for name, organization in [("a0", a), ("a1", a), ("a2", a), ("a3", a), ("b1", b), ("b2", b), ("c1", c)]:
        await calls.begin(name, organization)
    assert calls.admission.depth("slow") == 6
    for n in range(7):
        await calls.end(calls.entered[n])
    assert calls.entered == ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]
    assert (calls.admission.active("slow"), calls.admission.depth("slow")) == (0, 0)


async def test_who_waits_too_long_is_told_so_and_leaves_the_queue() -> None:
    calls = Calls(Admission({"slow": 1}))
    await calls.begin("first", ORGANIZATIONS[0])
    with pytest.raises(ProviderBusy) as busy:
        async with calls.admission.slot("slow", ORGANIZATIONS[1], seconds=0.01):
            pass
    assert busy.value.details["reason"] == "no_place"
    assert calls.admission.depth("slow") == 0
    await calls.end("first")
    async with calls.admission.slot("slow", ORGANIZATIONS[1], seconds=0.0) as waited:
        assert waited < 0.05


async def test_a_place_given_to_one_who_has_just_left_goes_on_to_the_next() -> None:
    a, b, _, _ = ORGANIZATIONS
    calls = Calls(Admission({"slow": 1}))
    for name, organization in [("first", a), ("leaves", a), ("next", b)]:
        await calls.begin(name, organization)
    calls.ends["first"].set()
    calls.tasks["leaves"].cancel()
    await settle()
    assert calls.entered == ["first", "next"]
    await calls.end("next")
    assert calls.admission.active("slow") == 0


async def test_a_provider_without_a_limit_has_no_queue() -> None:
    admission = Admission({"slow": 1})
    async with AsyncExitStack() as stack:
        for _ in range(50):
            await stack.enter_async_context(admission.slot("fast", ORGANIZATIONS[0], seconds=0))
        assert (admission.active("fast"), admission.depth("fast")) == (50, 0)
    assert admission.active("fast") == 0


async def test_a_call_that_fails_gives_its_place_back() -> None:
    admission = Admission({"slow": 1})
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with admission.slot("slow", ORGANIZATIONS[0], seconds=0):
                raise ZeroDivisionError
    assert admission.active("slow") == 0


steps = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "cancel"]), st.integers(0, 3), st.integers(0, 50)), max_size=60
)


@given(limit=st.integers(1, 3), steps=steps)
@settings(max_examples=60, derandomize=True, deadline=None)
async def test_the_bound_holds_and_no_place_is_idle_while_somebody_waits(
    limit: int, steps: list[tuple[str, int, int]]
) -> None:
    admission = Admission({"slow": limit})
    calls = Calls(admission)
    for n, (what, organization, which) in enumerate(steps):
        alive = [name for name, task in calls.tasks.items() if not task.done()]
        if what == "begin":
            await calls.begin(f"call-{n}", ORGANIZATIONS[organization])
        elif what == "cancel" and alive:
            await calls.cancel(alive[which % len(alive)])
        elif what == "end" and (inside := [name for name in alive if name in calls.entered]):
            await calls.end(inside[which % len(inside)])
        alive = [name for name, task in calls.tasks.items() if not task.done()]
        inside = [name for name in alive if name in calls.entered]
        assert len(inside) == admission.active("slow") <= limit
        assert len(alive) - len(inside) == admission.depth("slow")
        assert len(inside) == min(limit, len(alive)), "a place is free only where nobody waits"
    for task in calls.tasks.values():
        task.cancel()
    await asyncio.gather(*calls.tasks.values(), return_exceptions=True)
    assert (admission.active("slow"), admission.depth("slow")) == (0, 0)
