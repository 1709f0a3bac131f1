"""The leave of one attempt to send its request, which may be prepared meanwhile."""

from __future__ import annotations

import asyncio
import time


class Leave:
    """Asked for once, waited for by whoever sends."""

    def __init__(self) -> None:
        self.given_at: float | None = None
        """On the clock of `time.perf_counter`; None before."""
        self._refusal: BaseException | None = None
        self._decided = asyncio.Event()

    def give(self) -> None:
        self.given_at = time.perf_counter()
        self._decided.set()

    def refuse(self, refusal: BaseException) -> None:
        """Whoever waits gets it raised."""
        self._refusal = refusal
        self._decided.set()

    async def wait(self) -> None:
        """Until it is given. Raises what refused it."""
        await self._decided.wait()
        if self._refusal is not None:
            raise self._refusal
