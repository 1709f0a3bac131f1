"""MCP servers: how one is defined, what it listed, what of that agents may use, and how it does."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from domain.ids import OrganizationId

McpTransport = Literal["streamable_http", "sse", "stdio"]
McpScope = Literal["organization", "operator"]
McpIdentity = Literal["user", "organization", "none"]
"""Who a server is told the caller is: the organisation and its user, the organisation alone, or nobody."""
McpState = Literal["connecting", "ready", "unreachable", "wrong_protocol", "needs_sign_in", "changed", "disabled"]
McpToolStatus = Literal["approved", "changed", "new", "withheld"]
EVERY_AGENT = "*"
IDEMPOTENCY_KEY = "consilium/idempotency-key"
"""In `_meta` of a call that changes something: a server that has carried out the call under this key need not do it again."""
HIDDEN = "[hidden]"
MIN_SECRET = 8
"""Characters. What is shorter could be any word."""
_SECRET = re.compile("TOKEN|SECRET|KEY|PASSWORD|AUTH", re.IGNORECASE)
MAX_TOOL_NAME = 64
"""Characters that every vendor takes as a tool's name."""


class McpReason(BaseModel):
    """Why a server is in its state: `code` for programs, `message` for people, with the fix."""

    model_config = ConfigDict(frozen=True)
    code: str
    message: str


class McpServer(BaseModel):
    """A server as it was defined. `headers` are sent with each request and never shown; stdio has `command` in place of `url`."""

    model_config = ConfigDict(frozen=True)
    server_id: str
    organization_id: OrganizationId
    scope: McpScope
    name: str
    transport: McpTransport
    url: str | None = None
    headers: dict[str, str] = Field({}, repr=False)
    command: tuple[str, ...] = ()
    env: dict[str, str] = Field({}, repr=False)
    """Of a stdio server, beside the few variables every program needs."""
    cwd: str | None = None
    identity: McpIdentity = "user"
    agents: tuple[str, ...] = (EVERY_AGENT,)
    """Who may use its tools, beside the skills that name the server."""
    only: tuple[str, ...] | None = None
    """The tools wanted, by the server's names; None is all."""
    on_premises: bool = False
    """Whether a conversation with what must not leave the premises may call it."""
    enabled: bool = True
    not_configured: str | None = None
    """What the operator must set before it can be used; None where nothing is missing."""
    connect_seconds: float | None = None
    call_seconds: float | None = None
    idle_seconds: float | None = None
    """How long an unused session stays open. None is the setting's, in all three."""
    version: int = 1
    """One more with each change: an open session of an earlier version is not used again."""
    created_by: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def without_secrets(self, text: str) -> str:
        """What the server has said, without what it alone is told: the values of its headers and of its address's query, and variables
        that are secrets."""
        told = [*self.headers.values(), *(value for _, value in parse_qsl(urlsplit(self.url or "").query))]
        told += [
            value.rpartition(" ")[2] for name, value in self.headers.items() if name.lower().endswith("authorization")
        ]
        secrets = {value for value in told if len(value) >= MIN_SECRET}
        secrets |= {value for name, value in self.env.items() if _SECRET.search(name) and len(value) >= MIN_SECRET}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def serves(self, agent: str, named: tuple[str, ...]) -> bool:
        """Whether this agent, whose skill names these servers, may use it."""
        return EVERY_AGENT in self.agents or agent in self.agents or self.name in named


class McpToolDefinition(BaseModel):
    """A tool as the server described it. `sha256` is of all of it; `problem` says why it can't be used at all."""

    model_config = ConfigDict(frozen=True)
    name: str
    exposed: str
    """What models call it: unique in the organisation, at most 64 of A-Z a-z 0-9 _ -."""
    title: str | None = None
    description: str
    parameters: dict[str, Any]
    side_effect: bool
    idempotent: bool = False
    sha256: str
    problem: str | None = None


class McpPin(BaseModel):
    """What was approved of a tool. The description is kept to show what has changed."""

    model_config = ConfigDict(frozen=True)
    sha256: str
    description: str


class McpListing(BaseModel):
    """What is known of a server: how the last attempt went and what it listed last. `listed` counts all its tools, those over the
    limit too; `pins` None is before the first listing."""

    model_config = ConfigDict(frozen=True)
    state: McpState = "connecting"
    reason: McpReason | None = None
    tools: tuple[McpToolDefinition, ...] = ()
    listed: int | None = None
    pins: dict[str, McpPin] | None = None
    server_info: dict[str, Any] | None = None
    version: int = 0
    """Of the definition it was made with."""
    listed_at: datetime | None = None
    checked_at: datetime | None = None

    def status(self, tool: McpToolDefinition) -> McpToolStatus:
        """Whether a listed tool may be used."""
        if tool.problem is not None:
            return "withheld"
        pin = (self.pins or {}).get(tool.name)
        if pin is None:
            return "new"
        return "approved" if pin.sha256 == tool.sha256 else "changed"

    def fingerprint(self) -> str | None:
        """Of the whole list; None before the first."""
        if self.listed_at is None:
            return None
        return digest(sorted((tool.name, tool.sha256) for tool in self.tools))


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, in hex; the order of keys doesn't matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
