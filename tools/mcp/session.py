"""One session with one server, owned by a task of its own.

The SDK's transports live in cancel scopes: where a server dies they cancel the task that opened the session. That task is this
one's, never a caller's. Callers hand a request over and wait for a future, which always ends: with a result or a Failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import anyio
import structlog

from domain.mcp import McpServer
from tools.mcp.addresses import Addresses
from tools.mcp.failures import SESSION_LOST, Failed, Failure, garbled, of_exception, timed_out
from tools.mcp.wire import FAILURE_CODE, Wire, posting_client

if TYPE_CHECKING:
    from langchain_mcp_adapters.sessions import Connection
    from mcp import ClientSession, types

log = structlog.get_logger(__name__)
_STREAM_SECONDS = 3600.0
"""How long the stream of notifications may be silent."""
_CLOSING_SECONDS = 3.0
_TERMINATED = 32600
"""The code under which the SDK says that the server has forgotten the session."""
Request = Callable[["ClientSession"], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Of one session; seconds and bytes."""

    connect_seconds: float
    call_seconds: float
    max_bytes: int


class Session:
    """A session that is being opened from the moment it is made; `changed` is called when the server says its tools have changed."""

    def __init__(
        self,
        server: McpServer,
        headers: dict[str, str],
        environment: dict[str, str],
        addresses: Addresses,
        limits: SessionLimits,
        changed: Callable[[], None],
    ) -> None:
        self.server = server
        self.used_at = time.monotonic()
        self._limits = limits
        self._changed = changed
        self._wire = Wire(addresses, limits.max_bytes, self._break)
        self._headers = headers
        self._environment = environment
        self._requests: asyncio.Queue[tuple[Request, asyncio.Future[Any]] | None] = asyncio.Queue()
        self._pending: dict[asyncio.Future[Any], asyncio.Task[None] | None] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._failure: Failure | None = None
        self._garbled = 0
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[types.InitializeResult] = loop.create_future()
        self._task = loop.create_task(self._run(), name=f"mcp:{server.name}")

    @property
    def closed(self) -> bool:
        return self._task.done() or self._failure is not None

    @property
    def busy(self) -> bool:
        return bool(self._pending) or not self.opened.done()

    async def initialized(self) -> types.InitializeResult:
        """What the server said of itself. Raises Failed."""
        return await asyncio.shield(self.opened)

    async def ask(self, request: Request, seconds: float, what: str) -> Any:
        """The result of one request. Raises Failed, or mcp.McpError for an error of the server's own."""
        await self.initialized()
        if self.closed:
            raise Failed(self._failure or _CLOSED)
        self.used_at = time.monotonic()
        garbled_before = self._garbled
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[future] = None
        future.add_done_callback(self._drop)
        self._requests.put_nowait((request, future))
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            if self._garbled > garbled_before:
                raise Failed(garbled("something else")) from None
            raise Failed(timed_out(seconds, what)) from None
        finally:
            future.cancel()
            self.used_at = time.monotonic()

    async def close(self) -> None:
        """End the session: politely, then at once."""
        self._requests.put_nowait(None)
        await asyncio.wait([self._task], timeout=_CLOSING_SECONDS)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CLOSING_SECONDS)

    async def _run(self) -> None:
        failure = _CLOSED
        try:
            await self._serve()
        except asyncio.CancelledError as cancelled:
            failure = of_exception(cancelled)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        except Exception as broken:  # noqa: BLE001 - whatever ends it, the callers are told
            failure = of_exception(broken)
            log.info("MCP session ended", server=self.server.name, reason=failure.code, error=type(broken).__name__)
        finally:
            self._end(self._failure or failure)

    async def _serve(self) -> None:
        from langchain_mcp_adapters.sessions import create_session

        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._limits.connect_seconds):
                    session = await stack.enter_async_context(create_session(self._connection()))
                    opened = await session.initialize()
            except TimeoutError:
                lately = garbled("something else") if self._garbled else None
                self._break(lately or timed_out(self._limits.connect_seconds, "answer"))
                return  # closing may raise errors of its own, which would hide this one
            except Exception as refused:  # noqa: BLE001 - whatever it is, it is the server's state
                self._break(self._of_error(refused) or of_exception(refused))
                return
            self.used_at = time.monotonic()
            if not self.opened.done():
                self.opened.set_result(opened)
            while (asked := await self._requests.get()) is not None:
                request, future = asked
                if not future.done():
                    self._pending[future] = self._start(self._carry_out(session, request, future))

    async def _carry_out(self, session: ClientSession, request: Request, future: asyncio.Future[Any]) -> None:
        request_id = session._request_id  # the SDK numbers the request before it first waits, and tells nobody
        try:
            result = await request(session)
        except asyncio.CancelledError:
            if not future.done():
                future.set_exception(Failed(self._failure or _CLOSED))
            if not self.closed:
                self._start(_cancelled(session, request_id))
            raise
        except Exception as refused:  # noqa: BLE001 - it is the caller's
            failure = self._of_error(refused)
            if not future.done():
                future.set_exception(refused if failure is None else Failed(failure))
        else:
            if not future.done():
                future.set_result(result)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return task

    def _of_error(self, refused: Exception) -> Failure | None:
        """The failure behind an exception; None where it is the server's own error."""
        from mcp import McpError, types

        if not isinstance(refused, McpError):
            return of_exception(refused)
        error = refused.error
        if error.code == FAILURE_CODE and (failure := self._wire.failure(error.message)) is not None:
            return failure
        if error.code == _TERMINATED and error.message == "Session terminated":
            return SESSION_LOST
        if error.code == types.CONNECTION_CLOSED:
            self._break(_CLOSED)
            return self._failure
        return None if self.opened.done() else garbled("an error to the greeting")

    async def _heard(self, message: Any) -> None:
        """Called with all that isn't an answer."""
        from mcp import types

        if isinstance(message, Exception):
            self._garbled += 1
        elif isinstance(message, types.ServerNotification) and isinstance(
            message.root, types.ToolListChangedNotification
        ):
            self._changed()

    def _connection(self) -> Connection:
        from mcp import types

        server, limits = self.server, self._limits
        spoken = {
            "message_handler": self._heard,
            "client_info": types.Implementation(name="consilium", version="1"),
            "read_timeout_seconds": timedelta(seconds=max(limits.connect_seconds, limits.call_seconds) + 1),
        }
        if server.transport == "stdio":
            command, *arguments = server.command
            return cast(
                "Connection",
                {
                    "transport": "stdio",
                    "command": command,
                    "args": arguments,
                    "env": {**server.env, **self._environment},
                    "cwd": server.cwd,
                    "encoding_error_handler": "replace",
                    "session_kwargs": spoken,
                },
            )
        return cast(
            "Connection",
            {
                "transport": server.transport,
                "url": server.url,
                "headers": {**server.headers, **self._headers},
                "timeout": limits.connect_seconds,
                "sse_read_timeout": _STREAM_SECONDS,
                "session_kwargs": spoken,
                "httpx_client_factory": self._wire.client
                if server.transport == "streamable_http"
                else posting_client(self._wire),
            },
        )

    def _break(self, failure: Failure) -> None:
        """The connection is of no use any more."""
        if self._failure is None:
            self._failure = failure
            self._fail_pending(failure)
            self._requests.put_nowait(None)

    def _end(self, failure: Failure) -> None:
        self._failure = failure
        for task in self._working:
            task.cancel()
        if not self.opened.done():
            self.opened.set_exception(Failed(failure))
            self.opened.exception()  # nobody may be waiting
        self._fail_pending(failure)

    def _fail_pending(self, failure: Failure) -> None:
        for future in list(self._pending):
            if not future.done():
                future.set_exception(Failed(failure))

    def _drop(self, future: asyncio.Future[Any]) -> None:
        task = self._pending.pop(future, None)
        if task is not None and not task.done():
            task.cancel()


async def _cancelled(session: ClientSession, request_id: int) -> None:
    """Tell the server that nobody waits for its answer any more."""
    from mcp import types

    gone = types.CancelledNotification(
        params=types.CancelledNotificationParams(requestId=request_id, reason="no longer waited for")
    )
    with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        await session.send_notification(types.ClientNotification(gone))


_CLOSED = Failure("unreachable", "closed", "closed the connection.")
