"""What can go wrong with a server, as its state in the registry and as the error of a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import httpx

from domain.errors import (
    ToolError,
    ToolProtocolError,
    ToolRateLimited,
    ToolRejected,
    ToolTimedOut,
    ToolUnavailable,
)
from domain.mcp import McpReason, McpState
from tools.mcp.addresses import AddressRefused


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure: `state` is the server's, should it last; `told` completes "The MCP server 'x' ...", with the fix."""

    state: McpState
    code: str
    told: str

    def reason(self, server: str) -> McpReason:
        return McpReason(code=self.code, message=f"The MCP server '{server}' {self.told}")

    def error(self, server: str) -> ToolError:
        """The error of one call."""
        message = self.reason(server).message
        match self.code:
            case "timeout":
                return ToolTimedOut(message, server=server, reason=self.code)
            case "rate_limited":
                return ToolRateLimited(message, server=server, reason=self.code)
            case "address_refused":
                return ToolRejected(message, server=server, reason=self.code)
        match self.state:
            case "needs_sign_in":
                return ToolRejected(message, server=server, reason=self.code)
            case "wrong_protocol":
                return ToolProtocolError(message, server=server, reason=self.code)
            case "unreachable" | "connecting":
                return ToolUnavailable(message, server=server, reason=self.code)
            case "ready" | "changed" | "disabled":
                return ToolError(message, server=server, reason=self.code)
        assert_never(self.state)


class Failed(Exception):
    """Carries a failure through what is not ours."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.told)
        self.failure = failure


ADDRESS_REFUSED = Failure(
    "unreachable",
    "address_refused",
    "is where it may not be: at a private or loopback address, or marked `on_premises` outside; the operator can allow its network "
    "with CONSILIUM_MCP_ALLOWED_NETWORKS.",
)
SESSION_LOST = Failure("unreachable", "session_lost", "no longer knows the session.")


def timed_out(seconds: float, what: str) -> Failure:
    return Failure("unreachable", "timeout", f"did not {what} within {seconds:g} s.")


def garbled(what: str) -> Failure:
    return Failure("wrong_protocol", "not_mcp", f"answered with {what} instead of the Model Context Protocol.")


def too_large(limit: int) -> Failure:
    return Failure("ready", "too_large", f"answered with more than {limit} bytes, or too many parts; ask it for less.")


def of_status(status: int, location: str | None = None) -> Failure | None:
    """What an HTTP status means where it isn't a success; None where it is."""
    if status in (401, 403):
        return Failure(
            "needs_sign_in",
            "needs_sign_in",
            f"wants a sign-in (HTTP {status}); give it a valid `Authorization` header under /v1/mcp/servers.",
        )
    if status == 429:
        return Failure("unreachable", "rate_limited", "wants fewer requests (HTTP 429); try again later.")
    if status >= 500:
        return Failure("unreachable", "server_error", f"has a fault of its own (HTTP {status}); try again later.")
    if 300 <= status < 400:
        where = f" to {location[:200]}" if location else ""
        return Failure(
            "wrong_protocol", "redirected", f"redirects{where}; that is not followed, register the address itself."
        )
    if status >= 400:
        return Failure(
            "wrong_protocol",
            "not_mcp",
            f"does not speak this transport at this address (HTTP {status}); check the path, or try the other transport.",
        )
    return None


def of_exception(raised: BaseException) -> Failure:
    """What an exception from below means; the first that says something, of a group."""
    if isinstance(raised, BaseExceptionGroup):
        found = [of_exception(inner) for inner in raised.exceptions]
        return next((one for one in found if one.code != "closed"), found[0])
    cause: BaseException | None = raised
    while cause is not None:
        if isinstance(cause, AddressRefused):
            return ADDRESS_REFUSED
        if isinstance(cause, Failed):
            return cause.failure
        cause = cause.__cause__
    if isinstance(raised, httpx.HTTPStatusError):
        location = raised.response.headers.get("location")
        return of_status(raised.response.status_code, location) or garbled("something else")
    if isinstance(raised, httpx.ConnectError | httpx.ConnectTimeout):
        return Failure("unreachable", "unreachable", "can't be reached; check its address, and that it runs.")
    if isinstance(raised, httpx.TransportError):
        return Failure("unreachable", "connection_broken", f"broke the connection off ({type(raised).__name__}).")
    if isinstance(raised, httpx.InvalidURL | UnicodeError):
        return Failure("unreachable", "unreachable", "has an address that is none; correct it.")
    if isinstance(raised, FileNotFoundError | PermissionError | NotADirectoryError):
        return Failure("unreachable", "not_started", "could not be started; the operator must check its command.")
    if isinstance(raised, TimeoutError):
        return Failure("unreachable", "timeout", "did not answer in time.")
    if isinstance(raised, RuntimeError | ValueError):
        return garbled("something it must not answer")
    return Failure("unreachable", "closed", "closed the connection.")
