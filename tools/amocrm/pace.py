"""The pace of requests: amoCRM takes at most 7 a second, and blocks accounts that go over it again and again."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

PER_SECOND = 7
WINDOW_SECONDS = 1.1
"""A little over a second: requests may travel faster the later they were sent."""


class Pace:
    """Lets at most `per_window` pass in any window, in the order they came; the others wait."""

    def __init__(
        self,
        per_window: int = PER_SECOND,
        window_seconds: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._passed: deque[float] = deque(maxlen=per_window)
        self._window = window_seconds
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._not_before = 0.0

    async def wait(self) -> None:
        """Return when the next request may be sent, and count it."""
        async with self._turn:
            while (wait := self._wait_seconds()) > 0:
                await self._sleep(wait)
            self._passed.append(self._clock())

    def hold(self, seconds: float) -> None:
        """amoCRM wants a pause: nothing passes for so long."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def _wait_seconds(self) -> float:
        full = len(self._passed) == self._passed.maxlen
        free = self._passed[0] + self._window if full else 0.0
        return max(free, self._not_before) - self._clock()
