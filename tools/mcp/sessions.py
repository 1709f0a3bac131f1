"""The open sessions: one for each server, organisation and, where a server is told it, user. Idle ones are closed."""

from __future__ import annotations

import asyncio
import time
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from domain.ids import OrganizationId, UserId
from domain.mcp import McpServer
from tools.mcp.addresses import Addresses, Network
from tools.mcp.session import Session, SessionLimits

ORGANIZATION_HEADER = "X-Consilium-Organization"
USER_HEADER = "X-Consilium-User"
Key = tuple[OrganizationId, str, int, str]
"""Organisation, server, version of its definition, user ('' where the server isn't told)."""


@dataclass(frozen=True, slots=True)
class McpLimits:
    """The operator's. A server's own seconds come before these; `idle_seconds` is how long an unused session stays open."""

    connect_seconds: float = 10.0
    call_seconds: float = 60.0
    ttl_seconds: float = 300.0
    idle_seconds: float = 300.0
    max_sessions: int = 200
    max_tools: int = 64
    max_schema_chars: int = 20_000
    max_description_chars: int = 4_000
    max_bytes: int = 4_000_000
    max_result_chars: int = 100_000


class Sessions:
    """Opens them when they are needed. `changed` is called with a server that says its tools have changed."""

    def __init__(self, limits: McpLimits, networks: Iterable[Network], changed: Callable[[McpServer], None]) -> None:
        self._limits = limits
        self._organizations = Addresses(networks)
        self._premises = Addresses(networks, public=False)
        self._operators = Addresses(anywhere=True)
        self._changed = changed
        self._open: dict[Key, Session] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def addresses(self, server: McpServer) -> Addresses:
        """Where this server may be. What an organisation calls its premises must be in a network that the operator allowed."""
        if server.scope == "operator":
            return self._operators
        return self._premises if server.on_premises else self._organizations

    def get(self, server: McpServer, user: UserId | None) -> Session:
        """A session on behalf of this user, or for None of the organisation: the open one, or one that is being opened."""
        key = _key(server, user)
        session = self._open.get(key)
        if session is None or session.closed:
            self._sweep(room=1)
            session = self._open[key] = self._make(server, user)
            self._sweep_later()
        session.used_at = time.monotonic()
        return session

    def has(self, server: McpServer) -> bool:
        """Whether one on behalf of the organisation is open."""
        session = self._open.get(_key(server, None))
        return session is not None and not session.closed

    def drop(self, server_id: str) -> None:
        """Close all sessions with this server."""
        for key in [key for key in self._open if key[1] == server_id]:
            self._close(key)

    def discard(self, session: Session) -> None:
        """Close this one: it is of no use any more."""
        for key in [key for key, one in self._open.items() if one is session]:
            self._close(key)

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for key in list(self._open):
            self._close(key)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _make(self, server: McpServer, user: UserId | None) -> Session:
        limits = self._limits
        headers, environment = _identity(server, user)
        return Session(
            server,
            headers,
            environment,
            self.addresses(server),
            SessionLimits(
                connect_seconds=server.connect_seconds or limits.connect_seconds,
                call_seconds=server.call_seconds or limits.call_seconds,
                max_bytes=limits.max_bytes,
            ),
            lambda: self._changed(server),
        )

    def _sweep_later(self) -> None:
        """Look again once a session may have been idle for long: nobody else may come for one."""
        if self._timer is None and self._open:
            seconds = min(self._idle_seconds(session) for session in self._open.values())
            self._timer = asyncio.get_running_loop().call_later(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        self._sweep(room=0)
        self._sweep_later()

    def _idle_seconds(self, session: Session) -> float:
        return session.server.idle_seconds or self._limits.idle_seconds

    def _sweep(self, room: int) -> None:
        """Close what has been idle for long, and the longest unused where there is no room for so many more."""
        now = time.monotonic()
        idle = sorted((s.used_at, key) for key, s in self._open.items() if s.closed or not s.busy)
        too_many = len(self._open) - self._limits.max_sessions + room
        for n, (used_at, key) in enumerate(idle):
            session = self._open[key]
            if n < too_many or now - used_at >= self._idle_seconds(session) or session.closed:
                self._close(key)

    def _close(self, key: Key) -> None:
        closing = asyncio.create_task(self._open.pop(key).close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _key(server: McpServer, user: UserId | None) -> Key:
    told = server.identity == "user" and user is not None
    return server.organization_id, server.server_id, server.version, str(user) if told else ""


def _identity(server: McpServer, user: UserId | None) -> tuple[dict[str, str], dict[str, str]]:
    """Headers, and variables for a program, that tell who is calling. A user's name is percent-encoded: it may hold anything."""
    if server.identity == "none":
        return {}, {}
    headers = {ORGANIZATION_HEADER: str(server.organization_id)}
    environment = {"CONSILIUM_ORGANIZATION_ID": str(server.organization_id)}
    if server.identity == "user" and user is not None:
        # a program's variables are expanded on their way: `${` must not come from outside
        headers[USER_HEADER] = environment["CONSILIUM_USER_ID"] = urllib.parse.quote(user, safe="@.-_~+")
    return headers, environment
