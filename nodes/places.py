"""How many specialists of one run work at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nodes.runtime import RunContext, Services


@dataclass(slots=True)
class _Of:
    """The places of one run, and how many work in them or wait for one."""

    free: asyncio.Semaphore
    users: int = field(default=0)


class Places:
    """One for all specialists of a graph."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._runs: dict[str, _Of] = {}

    @asynccontextmanager
    async def of(self, run: RunContext) -> AsyncIterator[None]:
        """A place in this run, as soon as one is free."""
        key = run.run_id or run.trace_id
        places = self._runs.setdefault(key, _Of(asyncio.Semaphore(self._services.limits.max_parallel)))
        places.users += 1
        try:
            async with places.free:
                yield
        finally:
            places.users -= 1
            if not places.users:
                del self._runs[key]
