"""A block of work for a client, left as soon as the client has gone."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive


class Connected:
    """`async with`: the block is cancelled where the client goes away before its end, and what follows it goes on.

    It runs in the caller's own task: what it has at hand goes out in the same round of the loop. It is cancelled once; a block that
    awaits what may keep that to itself, as `asyncio.wait_for` does, asks `left`.
    """

    def __init__(self, receive: Receive) -> None:
        self.left = False
        """Whether the client has gone."""
        self._receive = receive
        self._end = asyncio.timeout(None)

    async def __aenter__(self) -> Connected:
        await self._end.__aenter__()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._watching.cancel()
        try:
            await self._end.__aexit__(kind, failure, trace)
        except TimeoutError:
            return True
        return False

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._end.reschedule(asyncio.get_running_loop().time())
