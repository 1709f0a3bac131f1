"""The HTTP client of the wires we speak without a vendor's library.

aiohttp, whose parser is C: reading the fifty chunks of a streamed answer takes it a third of httpx's processor time (0.9 : 2.6 ms,
21 November 2026), and that is most of what a forwarded call costs.
"""

from __future__ import annotations

import ssl
from types import SimpleNamespace
from typing import TYPE_CHECKING

from providers.meter import Meter

if TYPE_CHECKING:
    import aiohttp


class Http:
    """One connection pool for all OpenAI-compatible endpoints, opened at its first use; the guard has the other deadlines.

    A request's `trace_request_ctx` is the Meter that is to learn when it is on its way.
    """

    def __init__(self, connect_seconds: float) -> None:
        self._connect_seconds = connect_seconds
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """To be used in the event loop it was first used in."""
        if self._session is None:
            import aiohttp
            import certifi

            sent = aiohttp.TraceConfig()
            sent.on_request_headers_sent.append(_on_its_way)

            trusted = ssl.create_default_context(cafile=certifi.where())
            trusted.load_default_certs()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1000, keepalive_timeout=30, ssl=trusted),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,
                trace_configs=[sent],
            )
        return self._session

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _on_its_way(session: aiohttp.ClientSession, trace: SimpleNamespace, sent: object) -> None:
    """A connection is there and the request is written to it: whoever reads it may count it."""
    meter = trace.trace_request_ctx
    if isinstance(meter, Meter):
        meter.accepted()
