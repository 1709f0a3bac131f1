"""Circuit breakers of the providers, for this process: a view in memory of what all replicas share.

A call through a closed breaker without failures costs no statement. Where the database can't be reached the breaker goes on from
memory, on this process's clock: it never breaks a call.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog
from psycopg import OperationalError
from psycopg_pool import PoolClosed, PoolTimeout

from domain import breaker as life
from domain.breaker import CLOSED, BreakerPolicy, BreakerState, BreakerStatus
from domain.errors import CircuitOpen, ProviderBusy, ProviderError, ProviderRejected
from storage.breakers import BreakerStore, StoredBreaker

log = structlog.get_logger(__name__)
POLL_SECONDS = 5.0
RECONNECT_SECONDS = 1.0
_LOST = (OperationalError, PoolTimeout, PoolClosed)


@dataclass(frozen=True, slots=True)
class BreakerView:
    """A breaker as this process knows it. `retry_at` is the database's time; None while closed."""

    status: BreakerStatus
    failures: int
    retry_at: datetime | None


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to call a provider, to be given back as succeeded, failed or abandoned. `probe` names it where it is the one probe."""

    provider: str
    status: BreakerStatus
    probe: str | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    state: BreakerState
    due: float
    """When it may be tried, on the monotonic clock; 0 while closed."""
    changed_at: datetime
    """By the database's clock: what was read before is not learnt after it."""


_NEW = _Known(CLOSED, 0.0, datetime.min.replace(tzinfo=UTC))


class Breakers:
    """The breakers of all providers. One per process; `start` follows the other replicas."""

    def __init__(self, store: BreakerStore, policy: BreakerPolicy | None = None) -> None:
        self._store = store
        self._policy = policy or BreakerPolicy()
        self._known: dict[str, _Known] = {}
        self._follower: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        """Set and replaced whenever something was learnt."""

    def view(self, provider: str) -> BreakerView:
        state = self._known.get(provider, _NEW).state
        return BreakerView(state.status, state.failures, state.retry_at)

    def tripped(self) -> dict[str, BreakerView]:
        """Those that aren't closed, by provider."""
        return {name: self.view(name) for name, known in self._known.items() if known.state.status != "closed"}

    def next_retry(self, providers: Iterable[str]) -> float | None:
        """Seconds until the first of them may be tried; None where one may be now."""
        waits = [self._wait(provider) for provider in providers]
        return min(waits) if waits and all(waits) else None

    async def turn(self, providers: Sequence[str], seconds: float) -> bool:
        """Wait until one of them may be tried, also because a probe under way ends well; False where `seconds` don't suffice.

        Returns False at once where none of them is due in time and nobody probes.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (wait := self.next_retry(providers)) is not None:
            left = deadline - loop.time()
            probed = any(self.view(provider).status == "half_open" for provider in providers)
            if left <= 0 or (wait >= left and not probed):
                return False
            news = self._news
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, left)):
                    await news.wait()
        return True

    def _wait(self, provider: str) -> float:
        known = self._known.get(provider, _NEW)
        return 0.0 if known.state.status == "closed" else max(0.0, known.due - time.monotonic())

    async def enter(self, provider: str) -> Permit:
        """Leave to call. After its time an open breaker lets one probe of all replicas through. Raises CircuitOpen."""
        known = self._known.get(provider, _NEW)
        if known.state.status == "closed":
            return Permit(provider, "closed")
        if not self._wait(provider):
            probe = secrets.token_hex(8)
            known = await self._change(provider, lambda state, now: life.probing(state, now, self._policy, probe=probe))
            if known.state.probe == probe:
                return Permit(provider, "half_open", probe)
            if known.state.status == "closed":
                return Permit(provider, "closed")
        raise CircuitOpen(
            provider,
            f"is left alone after {known.state.failures} failures in a row",
            reason="circuit_open",
            retry_at=known.state.retry_at.isoformat() if known.state.retry_at else None,
            retry_after=round(self._wait(provider), 3),
        )

    async def succeeded(self, permit: Permit) -> None:
        """The provider answered."""
        if permit.probe is not None or self._known.get(permit.provider, _NEW).state.failures:
            await self._change(permit.provider, lambda state, now: life.succeeded(state, probe=permit.probe))

    async def failed(self, permit: Permit, error: ProviderError) -> None:
        """The provider failed. What is not its fault (our request, our key, no place) ends a probe without a verdict."""
        if isinstance(error, (ProviderRejected, ProviderBusy, CircuitOpen)):
            await self.abandoned(permit)
            return
        retry_after = error.details.get("retry_after")
        known = await self._change(
            permit.provider,
            lambda state, now: life.failed(state, now, self._policy, probe=permit.probe, retry_after=retry_after),
        )
        if known.state.status == "open":
            log.warning("breaker open", provider=permit.provider, failures=known.state.failures)

    async def abandoned(self, permit: Permit) -> None:
        """The call ended without a verdict."""
        if permit.probe is not None:
            await self._change(permit.provider, lambda state, now: life.abandoned(state, now, probe=permit.probe))

    async def _change(self, provider: str, transition: Callable[[BreakerState, datetime], BreakerState]) -> _Known:
        try:
            return self._learn(provider, await self._store.change(provider, transition))
        except _LOST as lost:
            log.warning("breakers go on from memory", provider=provider, error=type(lost).__name__)
            now = datetime.now(UTC)
            known = self._known.get(provider, _NEW)
            return self._learn(provider, StoredBreaker(transition(_by(known, now), now), known.changed_at, now))

    def _learn(self, provider: str, stored: StoredBreaker) -> _Known:
        state = stored.state
        if stored.changed_at < (known := self._known.get(provider, _NEW)).changed_at:
            return known
        due = 0.0 if state.retry_at is None else time.monotonic() + (state.retry_at - stored.now).total_seconds()
        known = self._known[provider] = _Known(state, due, stored.changed_at)
        self._news.set()
        self._news = asyncio.Event()
        return known

    async def start(self) -> None:
        """Learn how things stand and follow the other replicas."""
        await self._refresh()
        self._follower = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)

    async def _refresh(self) -> None:
        for provider, stored in (await self._store.all()).items():
            self._learn(provider, stored)

    async def _follow(self) -> None:
        while True:
            try:
                async for _ in self._store.changes(POLL_SECONDS):
                    await self._refresh()
            except _LOST as lost:
                log.warning("breakers of other replicas can't be followed", error=type(lost).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)


def _by(known: _Known, now: datetime) -> BreakerState:
    """The state with its time on this process's clock."""
    if known.state.retry_at is None:
        return known.state
    return replace(known.state, retry_at=now + timedelta(seconds=known.due - time.monotonic()))
