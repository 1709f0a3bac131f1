"""The trace id and the access line of every request, as plain ASGI so that streams stay streams."""

from __future__ import annotations

import re
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.ids import TraceId, new_trace_id
from domain.trace import set_trace_id
from server.errors import TRACE_KEY

log = structlog.get_logger("access")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")


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
        if name == b"traceparent" and (found := _TRACEPARENT.fullmatch(text)):
            return TraceId(found[1])
        if name == b"x-trace-id" and _TRACE_ID.fullmatch(text):
            return TraceId(text)
    return None
