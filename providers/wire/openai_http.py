"""Chat completions over HTTP, guarded, without a vendor's library: what the gateway forwards and the agents' model reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from domain.catalogue import Timeouts
from domain.errors import ProviderError, ProviderProtocolError
from providers.failures import broken_connection, of_status, quote, refuses, translate
from providers.meter import Meter
from providers.wire.framing import Frames, ServerSentEvents
from providers.wire.guard import WINDOW, guarded, headed
from providers.wire.http import Http
from providers.wire.openai import Chunk, OpenAIDialect, WholeAnswer

if TYPE_CHECKING:
    import aiohttp

LONGEST_ERROR = 64 * 1024
"""Bytes of an error's body that are read."""
ERROR_SECONDS = 5.0
"""How long it is waited for."""
NO_ANSWER = ("text/html", "text/plain")
"""Media types of what isn't a model's: a sign-in page, a proxy's notice."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where chat completions are had. `key_variable` names the environment variable of the key."""

    http: Http
    provider: str
    base_url: str = field(repr=False)
    api_key: str | None = field(repr=False)
    key_variable: str | None
    timeouts: Timeouts

    async def stream(
        self, body: Mapping[str, Any], meter: Meter, *, window: float = WINDOW
    ) -> AsyncGenerator[Chunk, None]:
        """The chunks of the answer to a request body, guarded; the body's `stream` is set here.

        Raises ProviderUnavailable, ProviderRateLimited, ProviderRejected, ProviderProtocolError.
        """
        model = str(body.get("model", ""))
        posted = self.http.post(self.url, meter, orjson.dumps({**body, "stream": True}), headers=self._headers())
        try:
            from providers.wire.http_body import Received

            async with await headed(posted, self.provider, self.timeouts, meter) as response:
                asked = asyncio.get_running_loop().time() - meter.elapsed()
                kind = await self._checked(response, model, meter)
                frames: Frames = WholeAnswer() if kind == "application/json" else ServerSentEvents()
                dialect = OpenAIDialect(self.provider, model, offered(body), meter)
                async with aclosing(
                    guarded(Received(response.content), frames, dialect, self.timeouts, window=window, asked=asked)  # type: ignore[type-var]
                ) as chunks:
                    async for chunk in chunks:
                        yield chunk
        except ProviderError:
            raise
        except Exception as failure:
            ours = translate(failure, self.provider, model)
            if ours is None:
                raise
            raise ours from failure

    @property
    def url(self) -> str:
        return f"{self.base_url.rstrip('/')}/chat/completions"

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "text/event-stream", "accept-encoding": "identity"}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return headers

    async def _checked(self, response: aiohttp.ClientResponse, model: str, meter: Meter) -> str:
        """The media type of what is no refusal."""
        status = response.status
        if refuses(status):
            meter.refused()
        if status >= 400:
            text = await error_text(response.content.iter_any())
            raise of_status(status, response.headers, text, self.provider, model, key_variable=self.key_variable)
        kind = media_type(response.headers)
        if kind in NO_ANSWER:
            meter.refused()
            raise ProviderProtocolError(self.provider, f"answered with {kind}, not with a stream", reason="html")
        return kind


def media_type(headers: Mapping[str, str]) -> str:
    """Without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def error_text(body: AsyncIterator[bytes]) -> str:
    """The message in an error's body, fit to be shown; "" where it has none, is too long, or doesn't come."""
    read = b""
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            async for piece in body:
                read += piece
                if len(read) > LONGEST_ERROR:
                    return ""
    except Exception as failure:
        if broken_connection(failure, "") is None:
            raise
        return ""  # the status has said enough
    try:
        told = orjson.loads(read)
    except orjson.JSONDecodeError:
        return ""
    error = told.get("error", told) if isinstance(told, dict) else told
    message = error.get("message", "") if isinstance(error, dict) else error
    return quote(message) if isinstance(message, str) else ""


def offered(body: Mapping[str, Any]) -> frozenset[str]:
    """The names of the tools a request offers, in OpenAI's, Ollama's and Anthropic's forms."""
    tools = body.get("tools") or ()
    return frozenset(str((tool.get("function") or tool).get("name")) for tool in tools if isinstance(tool, dict))
