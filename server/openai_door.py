"""Errors of OpenAI's routes in OpenAI's form, whoever answers them: the door, the routes, or what catches the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.render.openai import openai_error

PATHS = ("/v1/chat/completions", "/v1/embeddings", "/v1/models")


class OpenAIErrors:
    """Rewrites error responses of the routes that OpenAI's clients call. Answers and streams pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_openai(scope["path"]):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Rewriter(send).send)


def is_openai(path: str) -> bool:
    """Whether a path is one of OpenAI's."""
    return path.startswith(PATHS)


class _Rewriter:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
            return
        if self._start is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        try:
            told = orjson.loads(self._body)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict) or "error_code" not in told:
            await self._send(start)
            await self._send({"type": "http.response.body", "body": self._body})
            return
        status = _status(start["status"], told)
        body = orjson.dumps(openai_error(status, told))
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-length"] = str(len(body))
        if not _may_help(told):
            headers["x-should-retry"] = "false"
        await self._send({**start, "status": status, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})


def _status(status: int, told: Mapping[str, Any]) -> int:
    """A request its provider found wrong is the client's to mend, not a bad gateway."""
    details = told.get("details") or {}
    return 400 if told["error_code"] == "provider_rejected" and details.get("reason") == "request" else status


def _may_help(told: Mapping[str, Any]) -> bool:
    """Whether asking again soon may help: OpenAI's clients do of themselves on 429 and 5xx."""
    return told["error_code"] not in ("quota_exceeded", "provider_rejected")
