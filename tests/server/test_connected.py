"""A client that leaves, at every moment of what is done for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from server.connected import Connected
from server.render.sse import EventStream


class Client:
    """As a server tells of one."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.got: list[Any] = []

    async def receive(self) -> Any:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.got.append(message)


async def test_who_stays_gets_everything() -> None:
    client = Client()
    async with Connected(client.receive) as connected:
        await asyncio.sleep(0)
        client.got.append("done")
    assert (client.got, connected.left) == (["done"], False)


async def test_who_leaves_ends_the_block_and_no_more() -> None:
    client = Client()
    async with Connected(client.receive) as connected:
        client.leaves.set()
        await asyncio.sleep(30)
        client.got.append("done")
    await asyncio.sleep(0)
    assert (client.got, connected.left) == ([], True)


async def test_what_the_block_raises_is_raised() -> None:
    client = Client()
    with pytest.raises(TimeoutError, match="its own"):
        async with Connected(client.receive):
            try:
                client.leaves.set()
                await asyncio.sleep(30)
            finally:
                raise TimeoutError("its own")


async def test_who_cancels_from_outside_is_heard_also_while_the_client_leaves() -> None:
    client = Client()

    async def work() -> str:
        async with Connected(client.receive):
            client.leaves.set()
            await asyncio.sleep(30)
        return "went on"

    working = asyncio.create_task(work())
    await asyncio.wait_for(client.leaves.wait(), 10)
    working.cancel()
    assert (await asyncio.gather(working, return_exceptions=True))[0].__class__ is asyncio.CancelledError


@pytest.mark.parametrize("rounds", range(5))
async def test_a_stream_ends_though_its_body_kept_the_leaving_to_itself(rounds: int) -> None:
    """asyncio.wait_for does, in the round in which what it waits for is there."""
    client, told, there = Client(), asyncio.Event(), asyncio.get_running_loop().create_future()

    async def body() -> AsyncGenerator[bytes, None]:
        yield b"first"
        await asyncio.wait_for(there, 10)
        for _ in range(50):
            await asyncio.sleep(0)
            yield b"later"

    async def gone() -> None:
        told.set()

    stream = EventStream(body(), headers={}, on_disconnect=gone)
    sending = asyncio.create_task(stream({"type": "http"}, client.receive, client.send))
    while len(client.got) < 2:
        await asyncio.sleep(0)
    client.leaves.set()
    for _ in range(rounds):
        await asyncio.sleep(0)
    if not there.done():
        there.set_result(None)
    await asyncio.wait_for(sending, 10)
    assert told.is_set()
    assert len(client.got) < 50
