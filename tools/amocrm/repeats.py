"""Calls that come again under one idempotency key are carried out once, as far as this process remembers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")
KEPT = 2_000
"""Keys that are remembered, the latest."""


class Repeats(Generic[T]):
    """What came of calls by their keys."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, asyncio.Future[T]] = OrderedDict()

    async def once(self, key: str | None, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, or has given, or is about to give a call with this key. Without a key it is done each time.

        A caller that leaves doesn't end it: whoever comes again gets its result.
        """
        if key is None:
            return await work()
        if key not in self._known:
            self._known[key] = asyncio.ensure_future(work())
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return await asyncio.shield(self._known[key])
