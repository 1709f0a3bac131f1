"""What aiohttp sends and receives for us. Imported with aiohttp, at the first request."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload

from providers.meter import Meter

EARLY, EARLY_BYTES = 3, 512
"""Reads that are short, and how short: the first token of a burst goes out before the rest of it is looked at."""


class Outgoing(BytesPayload):
    """The body of a request, which goes out with its head, once `meter` is cleared. The meter learns when it is on its way: a connection
    is there, and whoever reads it may count it."""

    def __init__(self, value: bytes, meter: Meter) -> None:
        super().__init__(value, content_type="application/json")
        self._meter = meter

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await self._meter.cleared()
        self._meter.accepted()
        await super().write_with_length(writer, content_length)


class Received:
    """The body of a response, as a Reader: what has come is in aiohttp's buffer, so a read broken off at its deadline loses nothing.

    A read may give b"" before the end, too: before what broke it off.
    """

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self._early = EARLY
        self._failure: BaseException | None = None

    @property
    def ended(self) -> bool:
        return self._content.at_eof() and self._failure is None

    async def read(self, deadline: float) -> bytes | None:
        if self._failure is not None:
            raise self._failure
        if (failure := self._content.exception()) is not None:
            # aiohttp tells it before what had come by then, and gives that only to whoever has it forget the failure
            self._failure = failure
            self._content.set_exception(None)  # type: ignore[arg-type]
            return self._content.read_nowait()
        try:
            async with asyncio.timeout_at(None if deadline == float("inf") else deadline):
                if self._early:
                    data = await self._content.read(EARLY_BYTES)
                    self._early -= 1
                    return data
                return await self._content.readany()
        except TimeoutError:
            return None
        except RuntimeError as closed:
            # what aiohttp says of a connection it closed itself, for a response it can't parse
            raise aiohttp.ClientPayloadError(str(closed)) from closed

    async def stop(self) -> None:
        """The connection is its response's to close."""
