"""The guard as a transport below a vendor's HTTP client, so that the vendor's class stays as it is.

httpx and httpx2 have the same transports under two names; `library` is the one the vendor uses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson

from domain.catalogue import Timeouts
from domain.errors import ProviderError, ProviderProtocolError
from providers.failures import of_status, translate
from providers.meter import Meter, metering
from providers.wire.dialect import Dialect
from providers.wire.framing import Frames
from providers.wire.guard import WINDOW, guarded
from providers.wire.openai_http import error_text, offered


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

        def __init__(self, response: Any, dialect: Dialect[bytes]) -> None:
            self._response = response
            self._dialect = dialect

        async def __aiter__(self) -> AsyncIterator[bytes]:
            source = aiter(self._response.stream)
            pieces = guarded(source, wire.frames(), self._dialect, wire.timeouts, window=WINDOW)
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
            try:
                response = await inner.handle_async_request(request)
            except Exception as failure:
                raise translate(failure, wire.provider, model) or failure from failure
            if response.status_code >= 400:
                raise await _refusal(response, model)
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind in ("text/html", "text/plain"):
                await response.aclose()
                raise ProviderProtocolError(wire.provider, f"answered with {kind}, not with a stream", reason="html")
            meter = metering.get() or Meter(0)
            meter.accepted()
            if not wire.streams(body):
                return response
            dialect = wire.dialect(wire.provider, model, offered(body), meter)
            return library.Response(
                response.status_code,
                headers={"content-type": wire.content_type},
                stream=Body(response, dialect),
                extensions=response.extensions,
            )

        async def aclose(self) -> None:
            await inner.aclose()

    async def _refusal(response: Any, model: str) -> ProviderError:
        try:
            text = await error_text(response.aiter_bytes())
        finally:
            await response.aclose()
        return of_status(
            response.status_code, response.headers, text, wire.provider, model, key_variable=wire.key_variable
        )

    return Transport()
