"""What a task of its own produces, for a response that may begin late, leave early or end before the task does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Generic, TypeVar

import structlog

from domain.errors import TimedOut

log = structlog.get_logger(__name__)
T = TypeVar("T")


class Complete:
    """Yielded by a source where the answer is whole and only its own affairs, such as the ledger's, are left to settle."""


COMPLETE = Complete()


@asynccontextmanager
async def _within(seconds: float | None) -> AsyncIterator[None]:
    """Raises TimedOut."""
    try:
        async with asyncio.timeout(seconds) as timer:
            yield
    except TimeoutError:
        if seconds is None or not timer.expired():
            raise
        raise TimedOut(seconds) from None


class Feed(Generic[T]):
    """The items of `source`, which runs at once. What it holds is bounded by the answer's length.

    A failure before Complete is raised to the reader, after all items; one after it goes to the log. Until the first item is read
    the source waits after it. After `seconds`, where they are given, the source is ended and the failure is TimedOut.
    """

    def __init__(self, source: AsyncGenerator[T | Complete, None], *, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._items: deque[T] = deque()
        self._complete = False
        self._failure: BaseException | None = None
        self._news = asyncio.Event()
        self._read = asyncio.Event()
        self._task = asyncio.create_task(self._run(source))

    async def _run(self, source: AsyncGenerator[T | Complete, None]) -> None:
        try:
            async with _within(self._seconds), aclosing(source) as items:
                async for item in items:
                    if isinstance(item, Complete):
                        self._complete = True
                        self._news.set()
                        continue
                    self._items.append(item)
                    self._news.set()
                    # A source that has much at hand never waits: let what there is go out first.
                    await self._read.wait()
                    await asyncio.sleep(0)
            self._complete = True
        except Exception as failure:  # raised to the reader
            if self._complete:
                log.error("an answer was given and could not be settled", exc_info=failure)
            self._failure = failure
        finally:
            self._news.set()

    async def begun(self, seconds: float) -> bool:
        """Wait for the first item, at most so long; whether there is one. Raises the failure that came in its place."""
        try:
            async with asyncio.timeout(seconds):
                while not (self._items or self._complete or self._task.done()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        if not self._items and not self._complete and self._failure is not None:
            raise self._failure
        return bool(self._items)

    async def items(self, silence: float) -> AsyncIterator[T | None]:
        """The items as they come, None after every `silence` seconds without one."""
        while True:
            while self._items:
                yield self._items.popleft()
            self._read.set()
            if self._complete:
                return
            if self._failure is not None:
                raise self._failure
            if self._task.done():
                raise asyncio.CancelledError
            self._news.clear()
            try:
                async with asyncio.timeout(silence):
                    await self._news.wait()
            except TimeoutError:
                yield None

    async def cancel(self) -> None:
        """End the source where it has not completed its answer, and wait until it has settled its affairs."""
        if not self._complete:
            self._task.cancel()
        await self.settled()

    async def settled(self) -> None:
        """Wait until the source has ended."""
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            self._task.cancel()
            raise
