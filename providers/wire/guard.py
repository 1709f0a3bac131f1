"""The guard of one streamed answer: deadlines, validation and coalescing, whatever the wire.

The first delta goes out at once, later ones at most every WINDOW seconds, merged, and the rest as soon as the upstream has finished.
A merged delta costs the vendor's class, LangGraph and the reader as much as a single one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from domain.catalogue import Timeouts
from domain.errors import ProviderProtocolError, ProviderUnavailable
from providers.wire.dialect import Dialect
from providers.wire.framing import Frames, FrameTooLong

WINDOW = 0.025
GRACE_SECONDS = 0.5
"""How long a finished upstream may take to end its response, so that the connection can be used again."""
LATE = 0.1
"""Seconds after a deadline from which on this process is busy rather than the provider silent: what came meanwhile is read first."""
AHEAD = 1024 * 1024
EARLY = 4
"""Pieces of the source that are looked at one by one: the role, then the first token."""
T = TypeVar("T")
H = TypeVar("H")


async def headed(response: Awaitable[H], provider: str, timeouts: Timeouts) -> H:
    """The head of a response: it is waited for no longer than for the first token. Raises ProviderUnavailable (`stalled`)."""
    loop = asyncio.get_running_loop()
    timer = asyncio.timeout(None)
    watch: asyncio.TimerHandle

    def over(deadline: float) -> None:
        nonlocal watch
        if (now := loop.time()) < deadline + LATE:
            timer.reschedule(now)
        else:
            watch = loop.call_at(now + LATE / 2, over, now + LATE / 2)

    deadline = loop.time() + timeouts.first_token
    watch = loop.call_at(deadline, over, deadline)
    try:
        async with timer:
            return await response
    except TimeoutError:
        if not timer.expired():
            raise
        raise ProviderUnavailable(
            provider, f"did not begin to answer for {timeouts.first_token:g} s", reason="stalled"
        ) from None
    finally:
        watch.cancel()


async def guarded(
    source: AsyncIterator[bytes],
    frames: Frames,
    dialect: Dialect[T],
    timeouts: Timeouts,
    *,
    window: float = WINDOW,
    asked: float | None = None,
) -> AsyncIterator[T]:
    """The answer, piece by piece; whole and valid if the iteration ends without an error.

    `asked` is when the request was sent, on the loop's clock; None is now. Raises ProviderUnavailable (`stalled`, `timeout`),
    ProviderProtocolError, and what `source` raises.
    """
    clock = asyncio.get_running_loop().time
    asked = clock() if asked is None else asked
    total_end, stall_end = asked + timeouts.total, asked + timeouts.first_token
    limit, flushed = timeouts.first_token, float("-inf")
    begun = False
    reader = _Reader(source)
    try:
        while not dialect.closed:
            flush_at = flushed + window if dialect.held else float("inf")
            data = await reader.read(min(stall_end, total_end, flush_at))
            now = clock()
            if data is None:
                if dialect.held and now >= flush_at:
                    flushed = now
                    for piece in dialect.flush():
                        yield piece
                elif now >= total_end:
                    raise ProviderUnavailable(
                        dialect.provider, f"was not done after {timeouts.total:g} s", reason="timeout"
                    )
                elif now >= stall_end + LATE:
                    stall_end = now + LATE / 2
                elif now >= stall_end:
                    what = "no token" if limit == timeouts.first_token else "no further token"
                    raise ProviderUnavailable(dialect.provider, f"sent {what} for {limit:g} s", reason="stalled")
                continue
            moved = False
            for frame in _framed(frames, data, dialect.provider):
                moved = dialect.take(frame) or moved
            if moved:
                begun = True
                limit = timeouts.between_tokens
                stall_end = now + limit
            if dialect.held and (dialect.finished or now >= flushed + window):
                if begun:
                    flushed = now  # what comes before the first token doesn't make that one wait
                for piece in dialect.flush():
                    yield piece
            if reader.ended:
                for frame in frames.close():
                    dialect.take(frame)
                break
        dialect.end()
        for piece in dialect.flush():
            yield piece
        await reader.drain(GRACE_SECONDS)
    finally:
        await reader.stop()


def _framed(frames: Frames, data: bytes, provider: str) -> list[bytes]:
    try:
        return frames.feed(data)
    except FrameTooLong:
        raise ProviderProtocolError(provider, "sent more than an answer can be", reason="too_long") from None


class _Reader:
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
        """Whether everything was taken."""
        return self._done and not self._pieces

    async def read(self, deadline: float) -> bytes | None:
        """What has come, b"" at the end; None where nothing came before the deadline. Raises what the source raised."""
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

    async def drain(self, seconds: float) -> None:
        """Read on to the end of the response, for a moment."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.ended and await self.read(deadline) is not None:
            pass

    async def stop(self) -> None:
        """Leave the source, also in the middle."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
