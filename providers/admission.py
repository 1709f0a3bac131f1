"""Places at providers: a queue with a deadline instead of a crash, fair between organisations."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from domain.errors import ProviderBusy
from domain.ids import OrganizationId


class Admission:
    """At most `limits[provider]` calls under way at a provider in this process; a provider without a limit has no queue.

    Freed places go round the waiting organisations; within one, first come, first served. So an organisation that floods a slow
    provider waits for itself.
    """

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._gates = {provider: _Gate(limit) for provider, limit in limits.items()}
        self._unbounded: dict[str, int] = {}

    @asynccontextmanager
    async def slot(self, provider: str, organization_id: OrganizationId, *, seconds: float) -> AsyncIterator[float]:
        """A place for the length of the block, after at most `seconds`. Yields the seconds waited. Raises ProviderBusy."""
        gate = self._gates.get(provider)
        if gate is None:
            self._unbounded[provider] = self._unbounded.get(provider, 0) + 1
            try:
                yield 0.0
            finally:
                self._unbounded[provider] -= 1
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
        if not await gate.enter(organization_id, seconds):
            raise ProviderBusy(
                provider, f"has no place free within {seconds:.1f} s", reason="no_place", limit=gate.limit
            )
        try:
            yield loop.time() - started
        finally:
            gate.leave()

    def depth(self, provider: str) -> int:
        """How many calls wait."""
        gate = self._gates.get(provider)
        return gate.waiting if gate else 0

    def active(self, provider: str) -> int:
        """How many calls are under way."""
        gate = self._gates.get(provider)
        return gate.active if gate else self._unbounded.get(provider, 0)


class _Gate:
    """The places of one provider. A place is handed from who leaves to who is next: it is never free in between."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.active = 0
        self.waiting = 0
        self._queues: OrderedDict[OrganizationId, deque[asyncio.Future[None]]] = OrderedDict()
        """Organisations in the order of their turns."""

    async def enter(self, organization_id: OrganizationId, seconds: float) -> bool:
        """Whether a place was had in time."""
        if self.active < self.limit and not self._queues:
            self.active += 1
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(organization_id, deque()).append(turn)
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            if turn.done() and not turn.cancelled():
                return True  # it came in the very moment
            self._forget(organization_id, turn)
            return False
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.leave()  # the place goes on to the next
            else:
                self._forget(organization_id, turn)
            raise
        return True

    def leave(self) -> None:
        """Hand the place on, or free it."""
        while self._queues:
            organization_id, queue = self._queues.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._queues[organization_id] = queue  # at the end: the others come first
            self.waiting -= 1
            if not turn.done():
                turn.set_result(None)
                return
        self.active -= 1

    def _forget(self, organization_id: OrganizationId, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(organization_id)
        if queue is not None and turn in queue:
            queue.remove(turn)
            self.waiting -= 1
            if not queue:
                del self._queues[organization_id]
