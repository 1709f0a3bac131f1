"""The HTTP client of the wires we speak without a vendor's library.

aiohttp, whose parser is C: reading the fifty chunks of a streamed answer takes it a third of httpx's processor time (0.9 : 2.6 ms,
21 November 2026), and that is most of what a forwarded call costs.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from providers.meter import Meter

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.client import _RequestContextManager


class Http:
    """One connection pool for all OpenAI-compatible endpoints, opened at its first use; the guard has the other deadlines.

    To be used in the event loop it was first used in.
    """

    def __init__(self, connect_seconds: float) -> None:
        self._connect_seconds = connect_seconds
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[str, str | None] = {}
        """By address. aiohttp would read ~/.netrc and the environment in two threads before each request, which took 1 ms."""

    def post(self, url: str, meter: Meter, body: bytes, **options: Any) -> _RequestContextManager:
        """A request with a JSON body, through the proxy the environment names, with aiohttp's `options`; `meter` learns when it is
        on its way."""
        from providers.wire.http_body import Outgoing

        if url not in self._proxies:
            self._proxies[url] = environment_proxy(url)
        return self._opened().post(url, proxy=self._proxies[url], data=Outgoing(body, meter), **options)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp
            import certifi

            trusted = ssl.create_default_context(cafile=certifi.where())
            trusted.load_default_certs()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1000, keepalive_timeout=30, ssl=trusted),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def environment_proxy(url: str) -> str | None:
    """The proxy for an address by HTTP_PROXY, HTTPS_PROXY and NO_PROXY, with the name and password it may carry."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
