"""The HTTP client of the wires we speak without a vendor's library.

aiohttp, whose parser is C: reading the fifty chunks of a streamed answer takes it a third of httpx's processor time (0.9 : 2.6 ms,
21 November 2026), and that is most of what a forwarded call costs.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


class Http:
    """One connection pool for all OpenAI-compatible endpoints, opened at its first use; the guard has the other deadlines."""

    def __init__(self, connect_seconds: float) -> None:
        self._connect_seconds = connect_seconds
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """To be used in the event loop it was first used in."""
        if self._session is None:
            import aiohttp
            import certifi

            trusted = ssl.create_default_context(cafile=certifi.where())
            trusted.load_default_certs()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1000, keepalive_timeout=30, ssl=trusted),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,
            )
        return self._session

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None
