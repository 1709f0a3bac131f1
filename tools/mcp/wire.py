"""The HTTP connection to a server, guarded: every request to it gets an answer or a failure.

The SDK leaves a request without an answer where a stream ends early, where an answer is no JSON-RPC or one to another request, and
ends the whole session on a bad status. Here each of these becomes a JSON-RPC error of the one request, whose message is a key
into `failures`. What is read for one answer is bounded.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpcore
import httpx

from tools.mcp.addresses import Addresses, CheckedNetwork
from tools.mcp.failures import Failure, garbled, of_exception, of_status, too_large

FAILURE_CODE = -32099
"""Of the JSON-RPC errors made here; the message is a key into `Wire.failures`."""
JSON, SSE = "application/json", "text/event-stream"
MAX_PARTS = 100_000
"""Objects and lists in one message: each takes a hundred times the memory of its two characters."""
MAX_EVENTS = 10_000
"""In one answer, and within MAX_EVENTS_SECONDS on a stream that stays open."""
MAX_EVENTS_SECONDS = 10.0
_EVENT_END = re.compile(rb"\n\n|\r\n\r\n|\r\r")


class Wire:
    """What one session's connections share. `broken` is told of a failure that no single request can carry."""

    def __init__(self, addresses: Addresses, max_bytes: int, broken: Callable[[Failure], None]) -> None:
        self._addresses = addresses
        self.max_bytes = max_bytes
        self.broken = broken
        self._failures: dict[str, Failure] = {}

    def key(self, failure: Failure) -> str:
        """A key nobody can guess, by which the failure is found again."""
        key = secrets.token_hex(16)
        self._failures[key] = failure
        return key

    def failure(self, key: str) -> Failure | None:
        return self._failures.pop(key, None)

    def client(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
        auth: httpx.Auth | None = None,
    ) -> httpx.AsyncClient:
        """A client for the transports of the SDK. No proxy of the environment: it would choose the address."""
        inner = httpx.AsyncHTTPTransport(trust_env=False)
        # httpx has no parameter for the network below it
        inner._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=20,
            keepalive_expiry=30,
            network_backend=CheckedNetwork(self._addresses),
        )
        return httpx.AsyncClient(
            headers={**(headers or {}), "Accept-Encoding": "identity"},
            timeout=timeout,
            auth=auth,
            transport=_Guarded(inner, self),
            trust_env=False,
        )


class _Guarded(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncHTTPTransport, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        message = _message(request)
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError as failed:
            if message is None:
                if isinstance(failed, httpx.ConnectError) and "last-event-id" in request.headers:
                    self._wire.broken(of_exception(failed))
                raise
            return self._answer(message, of_exception(failed))
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            return self._answer(message, garbled("a compressed body, which nobody asked for,"))
        if message is None or _session_is_lost(request, response) or 300 <= response.status_code < 400:
            response.stream = _Bounded(response.stream, self._wire)
            return response
        return await self._guard(message, response)

    async def _guard(self, message: dict[str, Any], response: httpx.Response) -> httpx.Response:
        """The answer to a message that was posted."""
        if (failure := of_status(response.status_code)) is not None:
            await response.aclose()
            return self._answer(message, failure)
        kind = response.headers.get("content-type", "").lower()
        assert isinstance(response.stream, httpx.AsyncByteStream), "the client is asynchronous"
        if "id" not in message or response.status_code == 202:
            response.stream = _Bounded(response.stream, self._wire)
        elif kind.startswith(SSE):
            response.stream = _Events(response.stream, message["id"], self._wire)
        elif kind.startswith(JSON):
            return await self._whole(message, response)
        else:
            await response.aclose()
            return self._answer(message, garbled(f"'{kind[:60] or 'no content type'}'"))
        return response

    async def _whole(self, message: dict[str, Any], response: httpx.Response) -> httpx.Response:
        body = bytearray()
        try:
            async for part in response.stream:  # type: ignore[union-attr]
                body += part
                if len(body) > self._wire.max_bytes:
                    return self._answer(message, too_large(self._wire.max_bytes))
        except httpx.TransportError as failed:
            return self._answer(message, of_exception(failed))
        finally:
            await response.aclose()
        if _parts(body) > MAX_PARTS:
            return self._answer(message, too_large(self._wire.max_bytes))
        if not _answers(bytes(body), message["id"]):
            return self._answer(message, garbled("JSON of its own"))
        return httpx.Response(response.status_code, headers=_kept(response), content=bytes(body))

    def _answer(self, message: dict[str, Any] | None, failure: Failure) -> httpx.Response:
        """The failure as the answer of the server. A notification needs none; a request for a stream is told by its status."""
        if message is None:
            return httpx.Response(502)
        if "id" not in message:
            return httpx.Response(202)
        body = _error(message["id"], self._wire.key(failure))
        return httpx.Response(200, headers={"content-type": JSON}, content=body)


class Posting(httpx.AsyncBaseTransport):
    """For the older transport, whose answers come over another stream: a message that can't be posted breaks the session."""

    def __init__(self, inner: httpx.AsyncBaseTransport, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError as failed:
            if request.method == "POST":
                self._wire.broken(of_exception(failed))
            raise
        failure = of_status(response.status_code)
        if failure is None and response.headers.get("content-encoding", "identity") != "identity":
            failure = garbled("a compressed body, which nobody asked for,")
        if failure is None and request.method == "GET" and not _kind(response).startswith(SSE):
            failure = garbled(f"'{_kind(response)[:60] or 'no content type'}'")
        if failure is not None:
            self._wire.broken(failure)
        response.stream = _Bounded(response.stream, self._wire)
        return response


def posting_client(wire: Wire) -> Callable[..., httpx.AsyncClient]:
    """The factory of clients for the older transport."""

    def make(
        headers: dict[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
        auth: httpx.Auth | None = None,
    ) -> httpx.AsyncClient:
        client = wire.client(headers, timeout, auth)
        guarded = client._transport
        assert isinstance(guarded, _Guarded), "made by the line above"
        client._transport = Posting(guarded._inner, wire)
        return client

    return make


class _Bounded(httpx.AsyncByteStream):
    """A stream no event of which is longer than the limit, and which has no more than can be read; one without events no longer than
    the limit as a whole."""

    def __init__(self, stream: Any, wire: Wire) -> None:
        self._stream = stream
        self._wire = wire

    async def __aiter__(self) -> AsyncIterator[bytes]:
        since = parts = events = 0
        began = time.monotonic()
        async for part in self._stream:
            events += sum(1 for _ in _EVENT_END.finditer(part))
            if (now := time.monotonic()) - began > MAX_EVENTS_SECONDS:
                began, events = now, 0
            if events > MAX_EVENTS:
                self._wire.broken(garbled("more events than can be read"))
                raise httpx.RemoteProtocolError("too many events")
            cut = max(part.rfind(b"\n\n"), part.rfind(b"\r\n\r\n"))
            since = since + len(part) if cut < 0 else len(part) - cut
            parts = parts + _parts(part) if cut < 0 else _parts(part[cut:])
            if since > self._wire.max_bytes or parts > MAX_PARTS:
                self._wire.broken(too_large(self._wire.max_bytes))
                raise httpx.RemoteProtocolError("the answer is too long")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Events(httpx.AsyncByteStream):
    """The events that answer one request, whole ones only. Where they end without the answer, or aren't what they must be, the
    failure is the answer. A stream with event ids is left to the SDK, which asks for the rest."""

    def __init__(self, stream: httpx.AsyncByteStream, request_id: Any, wire: Wire) -> None:
        self._stream = stream
        self._id = request_id
        self._wire = wire

    async def __aiter__(self) -> AsyncIterator[bytes]:
        buffer = bytearray()
        resumable = False
        failure = Failure("unreachable", "connection_broken", "broke off in the middle of its answer.")
        size = events = 0
        try:
            async for part in self._stream:
                size += len(part)
                if size > self._wire.max_bytes:
                    failure = too_large(self._wire.max_bytes)
                    resumable = False
                    break
                unread, read = max(0, len(buffer) - 3), 0
                buffer += part
                wrong: Failure | None = None
                while wrong is None and (end := _EVENT_END.search(buffer, unread)) is not None:
                    data, has_id = _parse(bytes(buffer[read : end.end()]))
                    resumable = resumable or has_id
                    events += 1
                    if events > MAX_EVENTS:
                        wrong = garbled(f"more than {MAX_EVENTS} events")
                    elif _parts(data) > MAX_PARTS:
                        wrong = too_large(self._wire.max_bytes)
                    elif data and not _belongs(data, self._id):
                        wrong = garbled("events of its own")
                    else:
                        read = unread = end.end()
                if read:
                    yield bytes(buffer[:read])
                    del buffer[:read]
                if wrong is not None:
                    yield self._event(wrong)
                    return
        except httpx.TransportError as broken:
            failure = of_exception(broken)
        if not resumable:
            yield self._event(failure)

    def _event(self, failure: Failure) -> bytes:
        return b"event: message\ndata: " + _error(self._id, self._wire.key(failure)) + b"\n\n"

    async def aclose(self) -> None:
        await self._stream.aclose()


def _message(request: httpx.Request) -> dict[str, Any] | None:
    """The JSON-RPC message that a request posts; None where it posts none."""
    if request.method != "POST":
        return None
    try:
        message = json.loads(request.content)
    except (ValueError, httpx.RequestNotRead):
        return None
    return message if isinstance(message, dict) and "method" in message else None


def _session_is_lost(request: httpx.Request, response: httpx.Response) -> bool:
    return response.status_code == 404 and "mcp-session-id" in request.headers


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).lower()


def _kept(response: httpx.Response) -> dict[str, str]:
    return {name: response.headers[name] for name in ("content-type", "mcp-session-id") if name in response.headers}


def _error(request_id: Any, key: str) -> bytes:
    error = {"jsonrpc": "2.0", "id": request_id, "error": {"code": FAILURE_CODE, "message": key}}
    return json.dumps(error).encode()


def _answers(body: bytes, request_id: Any) -> bool:
    """Whether this is the answer to that request."""
    message = _object(body)
    if message is None:
        return False
    return message.get("id") == request_id and ("result" in message or "error" in message)


def _belongs(data: bytes, request_id: Any) -> bool:
    """Whether an event is a message of the protocol; an answer must be to that request."""
    message = _object(data)
    return message is not None and ("method" in message or _answers(data, request_id))


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and message.get("jsonrpc") == "2.0" else None


def _parts(body: bytes | bytearray) -> int:
    """How many objects and lists a JSON text can have."""
    return body.count(b"{") + body.count(b"[")


def _parse(event: bytes) -> tuple[bytes, bool]:
    """The data of an event, and whether it has an id. Comments and other types of event have no data for us."""
    data, kind, has_id = [], b"message", False
    for line in event.splitlines():
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
        elif name == b"id":
            has_id = bool(value)
    return (b"\n".join(data) if kind == b"message" else b""), has_id
