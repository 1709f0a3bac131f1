"""The guard of one streamed answer: deadlines, validation and coalescing, whatever the wire.

The first delta goes out at once and gets a head start, later ones at most every WINDOW seconds, merged, and the rest as soon as the
upstream has finished.
A merged delta costs the vendor's class, LangGraph and the reader as much as a single one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from domain.catalogue import Timeouts
from domain.errors import ProviderProtocolError, ProviderUnavailable
from providers.failures import broken_connection
from providers.meter import Meter
from providers.wire.dialect import Dialect
from providers.wire.framing import Frames, FrameTooLong
from providers.wire.reading import Reader

WINDOW = 0.025
HEAD_START = 0.001
"""Seconds by which the first delta is ahead of the burst it came in. On a machine whose cores are all taken, who passes it on and who
reads it wait for the core that would go on with the burst."""
GRACE_SECONDS = 0.5
"""How long a finished upstream may take to end its response, so that the connection can be used again."""
LATE = 0.1
"""Seconds after a deadline from which on this process is busy rather than the provider silent: what came meanwhile is read first."""
T = TypeVar("T")
H = TypeVar("H")


async def headed(response: Awaitable[H], provider: str, timeouts: Timeouts, meter: Meter | None = None) -> H:
    """The head of a response: it is waited for no longer than for the first token, from when `meter` lets the request be sent.
    Raises ProviderUnavailable (`stalled`)."""
    loop = asyncio.get_running_loop()
    timer = asyncio.timeout(None)
    watch: asyncio.TimerHandle

    def over(deadline: float) -> None:
        nonlocal watch
        now = loop.time()
        if meter is not None and (left := timeouts.first_token - meter.elapsed()) > 0:
            watch = loop.call_at(now + left, over, now + left)
        elif now < deadline + LATE:
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
    reader: Reader,
    frames: Frames,
    dialect: Dialect[T],
    timeouts: Timeouts,
    *,
    window: float = WINDOW,
    asked: float | None = None,
) -> AsyncIterator[T]:
    """The answer, piece by piece; whole and valid if the iteration ends without an error.

    `asked` is when the request was sent, on the loop's clock; None is now. Raises ProviderUnavailable (`stalled`, `timeout`),
    ProviderProtocolError, and what `reader` raises, which is left at the end.
    """
    clock = asyncio.get_running_loop().time
    asked = clock() if asked is None else asked
    total_end, stall_end = asked + timeouts.total, asked + timeouts.first_token
    limit, flushed = timeouts.first_token, float("-inf")
    begun = False
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
                if moved and not begun and dialect.held:
                    begun, flushed = True, now  # what came with it can wait
                    for piece in dialect.flush():
                        yield piece
                    await asyncio.sleep(HEAD_START)
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
        await _drain(reader)
    finally:
        await reader.stop()


async def _drain(reader: Reader) -> None:
    """Read on to the end of the response, for a moment. The answer is whole, however its connection ends."""
    deadline = asyncio.get_running_loop().time() + GRACE_SECONDS
    try:
        while not reader.ended and await reader.read(deadline) is not None:
            pass
    except Exception as failure:
        if broken_connection(failure, "") is None:
            raise


def _framed(frames: Frames, data: bytes, provider: str) -> list[bytes]:
    try:
        return frames.feed(data)
    except FrameTooLong:
        raise ProviderProtocolError(provider, "sent more than an answer can be", reason="too_long") from None
