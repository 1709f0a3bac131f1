"""What every request passes through, as plain ASGI so that streams stay streams: the trace id, the access line, the size limit."""

from __future__ import annotations

import re
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import TooLarge
from domain.ids import TraceId, new_trace_id
from domain.trace import set_trace_id
from server.errors import TRACE_KEY, error_response

log = structlog.get_logger("access")
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_TRACE_ID = re.compile(r"^[0-9a-f]{32}$")


class Trace:
    """Takes the trace id of `traceparent` or `X-Trace-Id`, or makes one; returns it and logs one line a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = _incoming(scope) or new_trace_id()
        set_trace_id(trace_id)
        scope[TRACE_KEY] = trace_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(trace_id=trace_id)
        started = time.perf_counter()
        status = 0

        async def traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [pair for pair in message["headers"] if pair[0].lower() != b"x-trace-id"]
                message = {**message, "headers": [*headers, (b"x-trace-id", trace_id.encode())]}
            await send(message)

        try:
            await self._app(scope, receive, traced)
        finally:
            route = scope.get("route")
            log.info(
                "request",
                method=scope["method"],
                path=getattr(route, "path", None) or scope["path"][:200],
                status=status or None,
                ms=round((time.perf_counter() - started) * 1000, 1),
            )


def _incoming(scope: Scope) -> TraceId | None:
    for name, value in scope["headers"]:
        text = value.decode("latin-1")
        if name == b"traceparent" and (found := _TRACEPARENT.match(text)):
            return TraceId(found[1])
        if name == b"x-trace-id" and _TRACE_ID.match(text):
            return TraceId(text)
    return None


class BodyLimit:
    """Answers 413 to a body over the limit, whether it says its length or not. Uploads have a limit of their own."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_upload_bytes: int) -> None:
        self._app = app
        self._max = max_bytes
        # multipart adds boundaries and field headers around the file
        self._max_upload = max_upload_bytes + 65_536

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        upload = headers.get(b"content-type", b"").startswith(b"multipart/form-data")
        limit = self._max_upload if upload else self._max
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            await _refuse(limit, scope, receive, send)
            return
        seen = 0
        started = False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise TooLarge(f"The body is over {limit} bytes.", limit=limit, unit="bytes")
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except TooLarge:
            if started:
                raise
            await _refuse(limit, scope, receive, send)


async def _refuse(limit: int, scope: Scope, receive: Receive, send: Send) -> None:
    response = error_response(
        413, "too_large", f"The body is over {limit} bytes.", scope[TRACE_KEY], {"limit": limit, "unit": "bytes"}, {"Connection": "close"}
    )
    await response(scope, receive, send)
