"""A scripted model server over real HTTP: OpenAI's chat completions, Ollama's chat and Anthropic's messages, embeddings of
the first two, with faults that can be switched on.

    with Upstream(fixed("Hello")) as upstream:
        Providers(catalogue, {"OPENAI_BASE_URL": upstream.openai_url, "OLLAMA_BASE_URL": upstream.url}, analyse)
        upstream.fail("rate_limit", retry_after=2)

`python -m tests.upstream.server --port 9000` serves 50 chunks without gaps, for benchmarks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, get_args

import uvicorn

from tests.upstream.embeddings import embeddings
from tests.upstream.reply import Policy, fixed
from tests.upstream.wires import StreamFault, anthropic_sse, as_openai, error, ollama_lines, openai_json, openai_sse

HttpFault = Literal[
    "rate_limit",
    "server_error",
    "gateway_timeout",
    "unauthorized",
    "not_found",
    "bad_request",
    "html",
    "half_error",  # a refusal whose body never comes to its end
    "reset",  # the connection breaks before the answer begins
    "silent",  # the answer never begins
]
Fault = HttpFault | StreamFault
_STATUS = {
    "rate_limit": 429, "server_error": 500, "gateway_timeout": 504, "unauthorized": 401, "not_found": 404,
    "bad_request": 400,
}  # fmt: skip
_UNANSWERED = frozenset({"reset", "silent", "gateway_timeout"})
"""Faults before the answer begins, whose request the server has read and counted all the same."""
_MIDWAY = frozenset({"reset_midway", "cut", "half_chunk", "error_midway", "stall", "keepalives", "reset_at_end"})
"""Faults that strike after so many chunks, or not at all where there are fewer; or when all are out."""
STALL_SECONDS = 30.0
"""A stalled stream ends by itself after this, or when the client leaves."""


@dataclass(frozen=True)
class Planned:
    fault: Fault
    after: int
    retry_after: str | None


@dataclass(frozen=True)
class Spent:
    """What the server itself counts of a request it began to answer. `complete` where it told the client so."""

    model: str
    prompt: int
    completion: int
    complete: bool


class Upstream:
    """The server, in a thread of its own. `requests` are the bodies received, `headers` theirs, in order."""

    def __init__(self, policy: Policy, *, port: int = 0) -> None:
        self.policy = policy
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.disconnects = 0
        """Streams the client left before their end."""
        self.spent: list[Spent] = []
        """One for every answer that was begun, in order of their ends."""
        self.plan: Callable[[int, dict[str, Any]], Planned | None] | None = None
        """Decides over the fault of the n-th request (from 0) where none is queued."""
        self.before: Callable[[dict[str, Any]], Awaitable[None]] | None = None
        """Awaited before a request is answered, in the server's own loop: it may hold some back."""
        self.chunk_seconds = 0.0
        """Between two chunks."""
        self.streams = True
        """Whether OpenAI's wire heeds a request's `stream`."""
        self._under_way = 0
        self._faults: deque[Planned] = deque()
        self._socket = socket.create_server(("127.0.0.1", port))
        # asyncio sets it only on sockets whose protocol is named; without it the second write waits 40 ms for an acknowledgement
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.openai_url = f"{self.url}/v1"
        config = uvicorn.Config(
            self._app, interface="asgi3", lifespan="off", log_level="error", access_log=False, timeout_keep_alive=120
        )  # a kept connection is never closed just as a client uses it again
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()

    def fail(self, fault: Fault, *, times: int = 1, after: int = 2, retry_after: float | str | None = None) -> None:
        """The next `times` requests fail so; stream faults strike after `after` chunks where they strike in the
        middle."""
        planned = Planned(fault, after, None if retry_after is None else str(retry_after))
        self._faults.extend([planned] * times)

    def heal(self) -> None:
        """No planned fault is left."""
        self._faults.clear()

    def __enter__(self) -> Upstream:
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError("the scripted model server did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    def _run(self) -> None:
        async def serve() -> None:
            self._started.set()  # the socket listens already: a connection waits in its queue until the server accepts
            await self._server.serve(sockets=[self._socket])

        asyncio.run(serve())

    async def quiet(self) -> None:
        """Wait until no request is under way: only then `spent` holds all of them."""
        while self._under_way:
            await asyncio.sleep(0.005)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self._under_way += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._under_way -= 1

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        path: str = scope["path"]
        if scope["method"] == "GET":
            await _json(send, 200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})
            return
        body = await _body(receive)
        if not body:
            return  # the client left before it had asked
        request = json.loads(body)
        self.requests.append(request)
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        planned = self._faults.popleft() if self._faults else None
        if planned is None and self.plan is not None:
            planned = self.plan(len(self.requests) - 1, request)
        embeds, anthropic = path.endswith(("/embeddings", "/api/embed")), path.endswith("/v1/messages")
        if planned is not None and planned.fault not in get_args(StreamFault):
            if planned.fault in _UNANSWERED and not embeds:
                reply = self.policy(as_openai(request) if anthropic else request)
                self.spent.append(Spent(request.get("model", "scripted"), reply.prompt_tokens, 0, False))
            await _fail(planned, receive, send)
            return
        if embeds:
            await _json(send, 200, embeddings(request, ollama=path.endswith("/api/embed")))
            return
        if self.before is not None:
            await self.before(request)
        reply = self.policy(as_openai(request) if anthropic else request)
        if reply.stall_after is not None:
            planned = Planned("stall", reply.stall_after, None)
        model = request.get("model", "scripted")
        fault: Any = planned.fault if planned else None
        if path.endswith("/chat/completions"):
            if not (request.get("stream") and self.streams):
                await _json(send, 200, openai_json(reply, model))
                self.spent.append(Spent(model, reply.prompt_tokens, reply.completion_tokens, True))
                return
            usage = bool((request.get("stream_options") or {}).get("include_usage"))
            chunks, kind = openai_sse(reply, model, usage=usage, fault=fault), "text/event-stream"
        elif anthropic:
            chunks, kind = anthropic_sse(reply, model, fault=fault), "text/event-stream"
        elif path.endswith("/api/chat"):
            chunks, kind = ollama_lines(reply, model, fault=fault), "application/x-ndjson"
        else:
            await _json(send, 404, {"error": {"message": f"no such path: {path}"}})
            return
        whole = await self._stream(chunks, kind, planned, receive, send)
        told = whole and (planned is None or planned.fault in _MIDWAY)
        self.spent.append(Spent(model, reply.prompt_tokens, reply.completion_tokens, told))

    async def _stream(
        self, chunks: Iterator[bytes], media_type: str, planned: Planned | None, receive: Any, send: Any
    ) -> bool:
        """Whether all of it was sent."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", media_type.encode())]})
        gone = asyncio.ensure_future(receive())
        try:
            for i, chunk in enumerate(chunks):
                if gone.done():
                    self.disconnects += 1
                    return False
                if planned is not None and i == planned.after:
                    if planned.fault == "reset_midway":
                        _abort(send)
                        return False
                    if planned.fault in ("stall", "keepalives"):
                        await self._silence(planned.fault == "keepalives", media_type, gone, send)
                        return False
                    if planned.fault in ("cut", "half_chunk", "error_midway"):
                        rest = {"cut": b"", "half_chunk": chunk[: len(chunk) // 2]}
                        last = rest.get(planned.fault, error(media_type))
                        await send({"type": "http.response.body", "body": last, "more_body": False})
                        return False
                if self.chunk_seconds:
                    await asyncio.sleep(self.chunk_seconds)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if planned is not None and planned.fault == "reset_at_end":
                _abort(send)
                return True
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return True
        finally:
            gone.cancel()

    async def _silence(self, keepalives: bool, media_type: str, gone: asyncio.Future[Any], send: Any) -> None:
        """Nothing, or only comments, until the client leaves."""
        empty = b": keep-alive\n\n" if "event-stream" in media_type else _EMPTY_OLLAMA
        loop = asyncio.get_running_loop()
        end = loop.time() + STALL_SECONDS
        while not gone.done() and loop.time() < end:
            if keepalives:
                await send({"type": "http.response.body", "body": empty, "more_body": True})
            await asyncio.wait([gone], timeout=0.02)
        self.disconnects += gone.done()


_EMPTY_OLLAMA = (
    b'{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":""},"done":false}\n'
)


async def _body(receive: Any) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _fail(planned: Planned, receive: Any, send: Any) -> None:
    if planned.fault == "reset":
        _abort(send)
    elif planned.fault == "silent":
        await _left(receive)
    elif planned.fault == "half_error":
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"error": {"mess', "more_body": True})
        await _left(receive)
    elif planned.fault == "html":
        await _respond(send, 200, b"<html><body>Please sign in</body></html>", [(b"content-type", b"text/html")])
    else:
        headers = [(b"retry-after", planned.retry_after.encode())] if planned.retry_after is not None else []
        # the key is repeated in the message, as real providers do
        error = {"error": {"message": "Incorrect API key provided: sk-secret-key", "type": planned.fault}}
        await _json(send, _STATUS[planned.fault], error, headers)


async def _left(receive: Any) -> None:
    """Wait until the client has left, at most STALL_SECONDS."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STALL_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass


def _abort(send: Any) -> None:
    """Cut the connection as a crash would."""
    send.__self__.transport.abort()


async def _json(send: Any, status: int, value: Any, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await _respond(send, status, json.dumps(value).encode(), [(b"content-type", b"application/json"), *(headers or [])])


async def _respond(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve 50 chunks without gaps until interrupted."""
    import argparse

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--chunks", type=int, default=50)
    options = parser.parse_args()
    with Upstream(fixed(*(f"word{i} " for i in range(options.chunks))), port=options.port) as upstream:
        print(upstream.openai_url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
