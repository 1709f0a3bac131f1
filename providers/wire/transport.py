"""The guard as a transport below a vendor's HTTP client, so that the vendor's class stays as it is.

httpx and httpx2 have the same transports under two names; `library` is the one the vendor uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson

from domain.catalogue import Timeouts
from domain.errors import ProviderProtocolError
from providers.failures import of_status, refuses, translate
from providers.meter import Meter, metering
from providers.wire.dialect import Dialect
from providers.wire.framing import Frames
from providers.wire.guard import WINDOW, guarded, headed
from providers.wire.openai_http import NO_ANSWER, error_text, media_type, offered
from providers.wire.reading import Pump


@dataclass(frozen=True, slots=True)
class Wire:
    """What a guard has to know. `path` ends the address of streamed answers; `streams` says whether a body asks for a stream."""

    provider: str
    path: str
    key_variable: str | None
    timeouts: Timeouts
    frames: Callable[[], Frames]
    dialect: Callable[[str, str, frozenset[str], Meter], Dialect[bytes]]
    """From the provider, the model, the tools offered and the meter."""
    streams: Callable[[dict[str, Any]], bool]
    content_type: str


def guard_transport(library: Any, inner: Any, wire: Wire) -> Any:
    """`inner` (an AsyncBaseTransport of `library`), guarded. Its failures are ProviderErrors, which the vendor's client may wrap."""

    class Body(library.AsyncByteStream):  # type: ignore[misc]
        """The guarded bytes of a response."""

        def __init__(self, response: Any, dialect: Dialect[bytes], asked: float) -> None:
            self._response = response
            self._dialect = dialect
            self._asked = asked

        async def __aiter__(self) -> AsyncIterator[bytes]:
            source = aiter(self._response.stream)
            pieces = guarded(
                Pump(source), wire.frames(), self._dialect, wire.timeouts, window=WINDOW, asked=self._asked
            )
            try:
                async with aclosing(pieces):  # type: ignore[type-var]
                    async for piece in pieces:
                        yield piece
            except Exception as failure:
                raise translate(failure, wire.provider, "") or failure from failure

        async def aclose(self) -> None:
            await self._response.aclose()

    class Transport(library.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            request.headers["accept-encoding"] = "identity"
            if request.method != "POST" or not request.url.path.endswith(wire.path):
                return await inner.handle_async_request(request)
            body = orjson.loads(request.content)
            model = str(body.get("model", ""))
            meter, asked = metering.get() or Meter(0), asyncio.get_running_loop().time()
            request.extensions = {**request.extensions, "trace": _Trace(meter)}
            try:
                response = await headed(inner.handle_async_request(request), wire.provider, wire.timeouts)
            except Exception as failure:
                raise translate(failure, wire.provider, model) or failure from failure
            await _check(response, model, meter)
            if not wire.streams(body):
                return response
            dialect = wire.dialect(wire.provider, model, offered(body), meter)
            return library.Response(
                response.status_code,
                headers={"content-type": wire.content_type},
                stream=Body(response, dialect, asked),
                extensions=response.extensions,
            )

        async def aclose(self) -> None:
            await inner.aclose()

    async def _check(response: Any, model: str, meter: Meter) -> None:
        status, kind = response.status_code, media_type(response.headers)
        if refuses(status):
            meter.refused()
        if status >= 400:
            try:
                text = await error_text(response.aiter_bytes())
            finally:
                await response.aclose()
            raise of_status(status, response.headers, text, wire.provider, model, key_variable=wire.key_variable)
        if kind in NO_ANSWER:
            meter.refused()
            await response.aclose()
            raise ProviderProtocolError(wire.provider, f"answered with {kind}, not with a stream", reason="html")

    return Transport()


@dataclass(frozen=True, slots=True)
class _Trace:
    """Told by httpcore of every step of a request; the meter learns when it is on its way."""

    meter: Meter

    async def __call__(self, step: str, info: dict[str, Any]) -> None:
        if step.endswith("send_request_headers.complete"):
            self.meter.accepted()
