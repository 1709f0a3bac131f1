"""A scripted Tavily over real HTTP: `POST /search` as its public reference describes it, with faults that can be switched on."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

KEY = "tvly-a-key-that-must-not-be-seen-anywhere"
PAGES = [
    {
        "title": "Key rate of the central bank",
        "url": "https://cbr.example/press/key-rate?id=1&lang=en",
        "content": "The board kept the key rate at 15.5 percent on 14 November.",
        "score": 0.91,
        "raw_content": None,
        "published_date": "Fri, 14 Nov 2026 10:30:00 GMT",
    },
    {
        "title": "Прогноз по ставке",
        "url": "https://news.example/prognoz",
        "content": "Аналитики ждут снижения ставки до 15 процентов в декабре.",
        "score": 0.74,
        "raw_content": None,
    },
]


class Tavily:
    """`requests` are the bodies received, in order. `answers` are sent before the pages: (status, headers, body), or None
    for silence until the client leaves."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.pages: list[Any] = list(PAGES)
        self.answers: deque[tuple[int, dict[str, str], bytes] | None] = deque()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if (scope["method"], scope["path"]) != ("POST", "/search"):
            await _send(send, 404, {}, b'{"detail": "Not Found"}')
            return
        self.requests.append(json.loads(body))
        if self.answers:
            answer = self.answers.popleft()
            if answer is None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                return
            await _send(send, *answer)
            return
        if headers.get("authorization") != f"Bearer {KEY}":
            told = {"detail": {"error": f"Unauthorized: missing or invalid API key {headers.get('authorization')}."}}
            await _send(send, 401, {}, json.dumps(told).encode())
            return
        request = self.requests[-1]
        found = {
            "query": request["query"],
            "follow_up_questions": None,
            "answer": None,
            "images": [],
            "results": self.pages[: request.get("max_results", 5)],
            "response_time": 0.4,
            "request_id": "123e4567-e89b-12d3-a456-426614174111",
        }
        await _send(send, 200, {"content-type": "application/json"}, json.dumps(found).encode())


async def _send(send: Any, status: int, headers: dict[str, str], body: bytes) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serve_tavily() -> AsyncIterator[Tavily]:
    """The server, up while the block runs, in the test's own event loop."""
    tavily = Tavily()
    config = uvicorn.Config(tavily, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        if running.done():
            await running
        await asyncio.sleep(0.005)
    tavily.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield tavily
    finally:
        server.should_exit = True
        await running
