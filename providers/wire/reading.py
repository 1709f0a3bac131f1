"""How the bytes of a streamed answer are waited for: no longer than to a deadline, without losing what comes after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

AHEAD = 1024 * 1024
EARLY = 4
"""Pieces of the source that are looked at one by one: the role, then the first token."""


class Reader(Protocol):
    """The bytes of one response."""

    @property
    def ended(self) -> bool:
        """Whether everything was taken and nothing broke it off."""
        ...

    async def read(self, deadline: float) -> bytes | None:
        """What has come, b"" at the end (`ended` tells); None where nothing came before the deadline, on the loop's clock. Raises what
        broke it off."""
        ...

    async def stop(self) -> None:
        """Leave the response, also in the middle."""
        ...


class Pump:
    """Reads a source in a task of its own, so that a deadline doesn't break off the read under way, and what comes in a burst is
    one piece. It is never more than AHEAD bytes ahead of who takes them."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._failure: Exception | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._done = False
        self._task = asyncio.create_task(self._pump(source))

    @property
    def ended(self) -> bool:
        """Whether everything was taken. What broke it off is still to come, of `read`."""
        return self._done and not self._pieces and self._failure is None

    async def read(self, deadline: float) -> bytes | None:
        if not self._pieces and not self._done:
            self._news.clear()
            try:
                async with asyncio.timeout_at(None if deadline == float("inf") else deadline):
                    await self._news.wait()
            except TimeoutError:
                return None
        if not self._pieces and self._failure is not None:
            raise self._failure
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._room.set()
        return data

    async def _pump(self, source: AsyncIterator[bytes]) -> None:
        early = EARLY
        try:
            async for piece in source:
                self._pieces.append(piece)
                self._size += len(piece)
                self._news.set()
                if early:
                    early -= 1
                    await asyncio.sleep(0)  # the first token doesn't wait until the burst it came in is read
                if self._size > AHEAD:
                    self._room.clear()
                    await self._room.wait()
        except Exception as failure:  # noqa: BLE001 - raised to who reads, once all before it is taken
            self._failure = failure
        finally:
            self._done = True
            self._news.set()

    async def stop(self) -> None:
        """Leave the source, also in the middle."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
