"""What the vendors' libraries raise, in our words. The libraries' own messages are quoted only where they can't hold
a key."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from domain.errors import (
    ProviderError,
    ProviderProtocolError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)

_YEAR = 366 * 86_400.0
_UNANSWERED = frozenset({504, 524})
"""A gateway gave up waiting for the model behind it, which may well have worked."""
_SECRET = re.compile(r"(?i)(bearer\s+|api[_ -]?key[^:]{0,20}:\s*|\bsk-|\bAIza|://[^/\s:@]+:)[^\s'\",@]+")


def translate(failure: Exception, provider: str, model: str) -> ProviderError | None:
    """The ProviderError a vendor's exception stands for; None where it is not one of theirs.

    Unavailable and RateLimited are worth another attempt, ProtocolError another provider, Rejected none with this
    request.
    """
    if (own := _own(failure)) is not None:
        return own
    return (
        _openai(failure, provider, model)
        or _ollama(failure, provider, model)
        or broken_connection(failure, provider)
        or _malformed(failure, provider)
    )


def _own(failure: BaseException | None) -> ProviderError | None:
    """What a guard below the vendor's class raised, however deep the class has wrapped it."""
    seen = 0
    while failure is not None and seen < 8:
        if isinstance(failure, ProviderError):
            return failure
        failure, seen = failure.__cause__ or failure.__context__, seen + 1
    return None


def _openai(failure: Exception, provider: str, model: str) -> ProviderError | None:
    import openai

    if isinstance(failure, openai.APITimeoutError):
        return ProviderUnavailable(provider, "did not answer in time", reason="timeout")
    if isinstance(failure, openai.APIConnectionError):
        return ProviderUnavailable(provider, "can't be reached; check its address", reason="connection")
    if isinstance(failure, openai.APIStatusError):
        return of_status(failure.status_code, failure.response.headers, quote(failure.message), provider, model)
    if isinstance(failure, openai.APIError):
        return ProviderUnavailable(
            provider, f"broke off with an error: {quote(failure.message)}", reason="stream_error"
        )
    return None


def _ollama(failure: Exception, provider: str, model: str) -> ProviderError | None:
    import ollama

    if isinstance(failure, ollama.ResponseError):
        if failure.status_code in (-1, 200):
            return ProviderUnavailable(
                provider, f"broke off with an error: {quote(failure.error)}", reason="stream_error"
            )
        return of_status(failure.status_code, {}, quote(failure.error), provider, model)
    return None


def broken_connection(failure: Exception, provider: str) -> ProviderError | None:
    """What an HTTP client's own failure means; None where it is another kind of failure."""
    import aiohttp
    import httpx
    import httpx2

    if isinstance(failure, (TimeoutError, httpx.TimeoutException, httpx2.TimeoutException)):
        return ProviderUnavailable(provider, "did not answer in time", reason="timeout")
    if isinstance(
        failure, (httpx.ConnectError, httpx2.ConnectError, aiohttp.ClientConnectorError, ConnectionRefusedError)
    ):
        return ProviderUnavailable(provider, "can't be reached; check its address", reason="connection")
    if isinstance(failure, (httpx.HTTPError, httpx2.HTTPError, aiohttp.ClientError, OSError)):
        return ProviderUnavailable(provider, "the connection broke", reason="connection")
    return None


def _malformed(failure: Exception, provider: str) -> ProviderError | None:
    if isinstance(failure, json.JSONDecodeError):
        return ProviderProtocolError(provider, "sent something that is not JSON", reason="bad_json")
    # What the vendors' classes raise on a chunk whose parts are missing or of another type.
    if isinstance(failure, (ValueError, KeyError, IndexError, TypeError, AttributeError)):
        return ProviderProtocolError(
            provider, f"sent something malformed ({type(failure).__name__})", reason="malformed"
        )
    return None


def refuses(status: int) -> bool:
    """Whether an HTTP status says that nothing was done of the request, so that nothing is charged."""
    return status >= 400 and status not in _UNANSWERED


def of_status(
    status: int, headers: Mapping[str, str], text: str, provider: str, model: str, *, key_variable: str | None = None
) -> ProviderError:
    """The failure an HTTP status stands for. `key_variable` is where the key comes from."""
    said = f": {text}" if text else ""
    if status == 429:
        return ProviderRateLimited(
            provider, f"has too many requests{said}", retry_after=retry_after(headers), http_status=429
        )
    if status in (401, 403):
        return ProviderRejected(
            provider,
            f"refused the key (HTTP {status}); check {key_variable or 'its API key variable'} in the environment",
            http_status=status,
            reason="key",
        )
    if status == 404:
        return ProviderRejected(
            provider,
            f"does not know the model '{model}', or its address is wrong (HTTP 404)",
            model=model,
            http_status=404,
            reason="model",
        )
    if status in (408, 409, 425) or status >= 500:
        return ProviderUnavailable(
            provider,
            f"failed with HTTP {status}",
            http_status=status,
            reason="http_status",
            retry_after=retry_after(headers),
        )
    return ProviderRejected(
        provider,
        f"refused the request for '{model}' (HTTP {status}){said}",
        model=model,
        http_status=status,
        reason="request",
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the provider asked to wait, a year at most; None where it didn't say, or said it unreadably."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if not value:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
            except (ValueError, TypeError):
                continue
        if not math.isnan(seconds):
            return min(max(0.0, seconds), _YEAR)
    return None


def quote(text: str) -> str:
    """A vendor's message, short, on one line, with anything that looks like a key blotted out."""
    return _SECRET.sub(r"\1***", " ".join(str(text).split()))[:300]
