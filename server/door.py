"""What comes before the routes: no body without a valid token, none too long, no JSON that can't be held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import ConsiliumError, InvalidInput, TooLarge
from domain.identity import Identity
from server.errors import IDENTITY_KEY, TRACE_KEY, BodyTooLarge, render, render_any
from server.json_body import checked_json

log = structlog.get_logger(__name__)

UPLOADS = "/v1/documents"
_FORM_OVERHEAD = 131_072
"""Bytes of a multipart body beside the file; more than the upload route allows, so that its own message comes first."""
_DRAIN_BYTES = 16_000_000
_DRAIN_SECONDS = 2.0


class Door:
    """Checks the token of a request that has a body before reading it, then the body's size, then its JSON.

    `open_paths` are prefixes that take bodies without a token, forms as large as an upload. A JSON body is read whole, at
    most `max_bytes`; any other is counted as it streams.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        identify: Callable[[Headers], Awaitable[Identity]],
        max_bytes: int,
        max_upload_bytes: int,
        open_paths: tuple[str, ...] = (),
    ) -> None:
        self._app = app
        self._identify = identify
        self._max = max_bytes
        self._max_upload = max_upload_bytes + _FORM_OVERHEAD
        self._open = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            admitted = await self._admit(scope, headers, receive)
        except ConsiliumError as refused:
            await _drain(headers, receive)
            response = render(refused, scope[TRACE_KEY])
            # What is left of the body would be taken for the next request.
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        await self._app(scope, admitted, send)

    async def _admit(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """The receive the routes get. Raises what is wrong with the request."""
        if b"%00" in scope["query_string"] or b"\x00" in scope["query_string"]:
            raise InvalidInput("query", "has a NUL character")
        length = headers.get("content-length", "")
        if length in ("", "0") and "transfer-encoding" not in headers:
            return receive
        if not (self._open and scope["path"].startswith(self._open)):
            scope[IDENTITY_KEY] = await self._identify(headers)
        limit = (
            self._max_upload if scope["path"].startswith((UPLOADS, *self._open)) and _is_form(headers) else self._max
        )
        if length.isdigit() and (len(length) > 15 or int(length) > limit):
            raise too_large(limit)
        if not _is_json(headers):
            return _counted(receive, limit)
        return _replayed(checked_json(await _read(receive, limit)), receive)


class Failures:
    """Answers what nobody else has caught: 503 for a lost database, 500 for a fault of ours, told to the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as failed:
            if started:
                # The status is out; leaving the response unfinished is what tells the client.
                log.exception("response broken off", error=type(failed).__name__)
                return
            await render_any(failed, scope[TRACE_KEY])(scope, receive, send)


def too_large(limit: int) -> TooLarge:
    """The answer to a body of more than `limit` bytes."""
    return TooLarge(f"The body has more than {limit} bytes.", limit=limit, unit="bytes")


def _is_json(headers: Headers) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _is_form(headers: Headers) -> bool:
    return headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _read(receive: Receive, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInput("body", "ended before it was complete")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise BodyTooLarge(limit)
        return message

    return counted


async def _drain(headers: Headers, receive: Receive) -> None:
    """Take some of a refused body: a client that is still sending when the connection closes never sees the answer."""
    length = headers.get("content-length", "")
    if "expect" in headers or (length in ("", "0") and "transfer-encoding" not in headers):
        return
    taken = 0
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while taken < _DRAIN_BYTES:
                message = await receive()
                taken += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
