"""Requests that wait for each other: proof, without a clock, that they are under way at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 20.0


class Meeting:
    """Holds back the requests it is about until `number` of them are there; `met` tells whether they ever were. For `Upstream.before`."""

    def __init__(self, number: int, about: Callable[[dict[str, Any]], bool]) -> None:
        self._number = number
        self._about = about
        self._all = asyncio.Event()
        self._there = 0

    @property
    def met(self) -> bool:
        return self._all.is_set()

    async def __call__(self, body: dict[str, Any]) -> None:
        if not self._about(body):
            return
        self._there += 1
        if self._there >= self._number:
            self._all.set()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._all.wait()
        except TimeoutError:
            self._there -= 1


class Crowd:
    """Keeps each request it is about for `seconds`; `most` is how many there were at the same time. For `Upstream.before`."""

    def __init__(self, about: Callable[[dict[str, Any]], bool], seconds: float = 0.2) -> None:
        self._about = about
        self._seconds = seconds
        self._there = 0
        self.most = 0

    async def __call__(self, body: dict[str, Any]) -> None:
        if not self._about(body):
            return
        self._there += 1
        self.most = max(self.most, self._there)
        await asyncio.sleep(self._seconds)
        self._there -= 1
