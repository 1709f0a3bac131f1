"""Chat completions over HTTP, guarded, without a vendor's library: what the gateway forwards and the agents' model reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from domain.catalogue import Timeouts
from domain.errors import ProviderError, ProviderProtocolError
from providers.failures import of_status, quote, translate
from providers.meter import Meter
from providers.wire.framing import ServerSentEvents
from providers.wire.guard import WINDOW, guarded
from providers.wire.http import Http
from providers.wire.openai import Chunk, OpenAIDialect, whole_answer

if TYPE_CHECKING:
    import aiohttp

LONGEST_ERROR = 64 * 1024
"""Bytes of an error's body that are read."""


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
        try:
            async with self.http.session.post(
                self.url, data=orjson.dumps({**body, "stream": True}), headers=self._headers()
            ) as response:
                if response.status >= 400:
                    raise await self._refusal(response, model)
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind in ("text/html", "text/plain"):
                    raise ProviderProtocolError(
                        self.provider, f"answered with {kind}, not with a stream", reason="html"
                    )
                meter.accepted()
                dialect = OpenAIDialect(self.provider, model, offered(body), meter)
                if kind == "application/json":
                    async for chunk in self._whole(response, dialect):
                        yield chunk
                    return
                async with aclosing(
                    guarded(response.content.iter_any(), ServerSentEvents(), dialect, self.timeouts, window=window)  # type: ignore[type-var]
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

    async def _whole(self, response: aiohttp.ClientResponse, dialect: OpenAIDialect) -> AsyncGenerator[Chunk, None]:
        """The answer of a server that doesn't stream."""
        read = await response.read()
        try:
            told = orjson.loads(read)
        except orjson.JSONDecodeError:
            raise ProviderProtocolError(self.provider, "sent something that is not JSON", reason="bad_json") from None
        for frame in whole_answer(told if isinstance(told, dict) else {}):
            dialect.take(frame)
        dialect.end()
        for chunk in dialect.flush():
            yield chunk

    async def _refusal(self, response: aiohttp.ClientResponse, model: str) -> ProviderError:
        text = await error_text(response.content.iter_any())
        return of_status(response.status, response.headers, text, self.provider, model, key_variable=self.key_variable)


async def error_text(body: AsyncIterator[bytes]) -> str:
    """The message in an error's body, fit to be shown; "" where it has none."""
    read = b""
    async for piece in body:
        read += piece
        if len(read) > LONGEST_ERROR:
            return ""
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
