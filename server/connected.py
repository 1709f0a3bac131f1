"""A block of work for a client, left as soon as the client has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from starlette.types import Receive


@contextmanager
def while_connected(receive: Receive) -> Iterator[anyio.CancelScope]:
    """The block is cancelled where the client goes away before its end; the scope's `cancelled_caught` tells.

    It runs in the caller's own task: what it has at hand goes out in the same round of the loop.
    """
    scope = anyio.CancelScope()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    watching = asyncio.create_task(watch())
    try:
        with scope:
            yield scope
    finally:
        watching.cancel()
