"""How a server takes the console in without waiting for it: its libraries are loaded once the server is up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

MOUNT: Final = "/console"


def mount(app: FastAPI, url: str, secret: str) -> None:
    """Serve the console of the server at `url` under /console of `app`; `/` leads there.

    `secret` signs the sessions: the same on every replica. Once in a process: NiceGUI has one application.
    """
    console = _Console(url, secret)
    app.mount(MOUNT, console)

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse(f"{MOUNT}/", 307)

    serve = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with serve(app) as state:
            console.open()
            try:
                yield state
            finally:
                await console.close()

    app.router.lifespan_context = lifespan


class _Console:
    """The console's application, opened in the background; requests that come earlier wait for it."""

    def __init__(self, url: str, secret: str) -> None:
        self._url, self._secret = url, secret
        self._ready: asyncio.Future[ASGIApp] | None = None
        self._closing = asyncio.Event()
        self._opened: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._ready is not None, "a server calls its applications between startup and shutdown"
        await (await asyncio.shield(self._ready))(scope, receive, send)

    def open(self) -> None:
        """Begin to open it."""
        self._ready = asyncio.get_running_loop().create_future()
        self._opened = asyncio.create_task(self._run(self._ready))

    async def close(self) -> None:
        """Close it; raises what it failed with."""
        self._closing.set()
        if self._opened is not None:
            await self._opened

    async def _run(self, ready: asyncio.Future[ASGIApp]) -> None:
        """Open and close it in one task, as its lifespan may ask."""
        try:
            app = await asyncio.to_thread(_load, self._url, self._secret)
            async with app.router.lifespan_context(app):
                ready.set_result(app)
                await self._closing.wait()
        except Exception as failed:
            if not ready.done():
                ready.set_exception(failed)
                ready.exception()  # told by whoever asks for a page, and by `close`
            raise


def _load(url: str, secret: str) -> FastAPI:
    from console.app import create_console

    return create_console(url, secret, MOUNT)
