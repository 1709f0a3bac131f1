"""MCP servers of the caller's organisation: what they are, how they do, and what of them is approved."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from domain.errors import Conflict, InvalidInput
from domain.identity import Identity
from domain.ids import new_id
from domain.mcp import (
    EVERY_AGENT,
    McpIdentity,
    McpReason,
    McpScope,
    McpServer,
    McpState,
    McpToolStatus,
    McpTransport,
)
from server.deps import AppState, CallerDep, StateDep, require
from tools.mcp.config import NAME
from tools.mcp.servers import Overview

router = APIRouter(prefix="/v1/mcp/servers", tags=["mcp"])
AdminDep = Annotated[Identity, Depends(require("admin"))]
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = re.compile(
    r"(?i)host|content-.*|transfer-encoding|connection|upgrade|te|trailer|accept|accept-encoding|expect|mcp-.*|x-consilium-.*|"
    r"last-event-id|cookie"
)
"""Headers that belong to the protocol or say who is calling."""


class ServerChange(BaseModel):
    """What may be changed of a server; what is left out stays. `headers` replaces all of them."""

    model_config = ConfigDict(extra="forbid")

    transport: str = Field("streamable_http", pattern="^(streamable_http|sse)$", description="streamable_http or sse.")
    url: str = Field("", min_length=8, max_length=2000)
    headers: dict[str, str] = Field(
        {}, max_length=20, description="Sent with each request, such as Authorization; never shown."
    )
    identity: McpIdentity = Field(
        "user", description="Whom the server is told of: organisation and user, organisation, none."
    )
    agents: list[Annotated[str, Field(max_length=64)]] = Field(
        [EVERY_AGENT], max_length=100, description="* is every agent."
    )
    only: list[Annotated[str, Field(min_length=1, max_length=500)]] | None = Field(
        None, max_length=500, description="The wanted tools by the server's names; null is all."
    )
    on_premises: bool = Field(
        False,
        description="Whether conversations with local_only documents may call it; only in a network the operator allowed.",
    )
    enabled: bool = True
    connect_seconds: float | None = Field(None, gt=0, le=120)
    call_seconds: float | None = Field(None, gt=0, le=3600)


class NewServer(ServerChange):
    """A server to add. Its name begins the names of its tools: `name__tool`."""

    name: str = Field(pattern=NAME)
    url: str = Field(min_length=8, max_length=2000)


class Approval(BaseModel):
    """What is approved: the list with this fingerprint, as it was looked at."""

    model_config = ConfigDict(extra="forbid")

    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")


class ToolView(BaseModel):
    """A listed tool. `exposed` is what models call it; `approved_description` is shown where another one was approved."""

    name: str
    exposed: str
    title: str | None
    description: str
    parameters: dict[str, Any]
    side_effect: bool
    status: McpToolStatus
    problem: str | None
    approved_description: str | None


class ServerView(BaseModel):
    """A server as it is now. Of its headers only the names are shown, its address without the query to all but admins. `listed` counts
    all its tools, also those over the limit; unknown is null."""

    server_id: str
    name: str
    scope: McpScope
    transport: McpTransport
    url: str | None
    header_names: list[str]
    identity: McpIdentity
    agents: list[str]
    only: list[str] | None
    on_premises: bool
    enabled: bool
    connect_seconds: float | None
    call_seconds: float | None
    state: McpState
    reason: McpReason | None
    fingerprint: str | None
    listed: int | None
    tools: list[ToolView]
    server_info: dict[str, Any] | None
    listed_at: datetime | None
    checked_at: datetime | None
    created_by: str | None
    created_at: datetime | None
    updated_at: datetime | None


class ServerList(BaseModel):
    """The operator's servers first, then the organisation's own by name."""

    servers: list[ServerView]


@router.get("")
async def list_servers(state: StateDep, caller: CallerDep) -> ServerList:
    """The servers that the organisation's agents can use, and how they do."""
    state.services.mcp.forget(caller.organization_id)
    return ServerList(
        servers=[_view(one, caller) for one in await state.services.mcp.overviews(caller.organization_id)]
    )


@router.post("", status_code=201)
async def add_server(state: StateDep, caller: AdminDep, body: NewServer) -> ServerView:
    """Add a server and connect to it. What it lists now is approved with it; that it can't be reached is told by its `state`."""
    if body.name in state.services.mcp.operator_names(caller.organization_id):
        raise Conflict(f"The operator has a server named '{body.name}'; choose another name.", name=body.name)
    server = McpServer(
        server_id=new_id(),
        organization_id=caller.organization_id,
        scope="organization",
        created_by=caller.user_id,
        **body.model_dump(),
    )
    await _check(state, server)
    await state.mcp_servers.add(server)
    return await _refreshed(state, caller, server)


@router.get("/{server_id}")
async def get_server(state: StateDep, caller: CallerDep, server_id: str) -> ServerView:
    """One server."""
    return _view(await state.services.mcp.overview(caller.organization_id, server_id), caller)


@router.patch("/{server_id}")
async def change_server(state: StateDep, caller: AdminDep, server_id: str, body: ServerChange) -> ServerView:
    """Change a server, switch it off or on. At another address it is another server: what it lists there is approved anew."""
    server = await _own(state, caller, server_id)
    changed = McpServer.model_validate(server.model_dump() | body.model_dump(exclude_unset=True))
    await _check(state, changed)
    other_place = (changed.url, changed.transport) != (server.url, server.transport)
    await state.mcp_servers.update(changed, other_place=other_place)
    state.services.mcp.forget(caller.organization_id, server_id)
    return await _refreshed(state, caller, changed.model_copy(update={"version": changed.version + 1}))


@router.delete("/{server_id}", status_code=204)
async def remove_server(state: StateDep, caller: AdminDep, server_id: str) -> None:
    """Remove a server; what agents have had from it stays in their conversations."""
    server = await _own(state, caller, server_id)
    await state.mcp_servers.delete(server)
    state.services.mcp.forget(caller.organization_id, server_id)


@router.post("/{server_id}/refresh")
async def refresh_server(state: StateDep, caller: AdminDep, server_id: str) -> ServerView:
    """Ask the server for its tools now."""
    overview = await state.services.mcp.overview(caller.organization_id, server_id)
    return await _refreshed(state, caller, overview.server)


@router.post("/{server_id}/approve")
async def approve_server(state: StateDep, caller: AdminDep, server_id: str, body: Approval) -> ServerView:
    """Approve all tools of the list with this fingerprint. 409 where the server lists something else by now."""
    overview = await state.services.mcp.overview(caller.organization_id, server_id)
    if overview.listing.fingerprint() != body.fingerprint:
        raise Conflict(
            "The server lists something else by now; look at its tools again.",
            fingerprint=overview.listing.fingerprint(),
        )
    await state.mcp_servers.approve(overview.server, overview.listing)
    return _view(await state.services.mcp.overview(caller.organization_id, server_id), caller)


async def _own(state: AppState, caller: Identity, server_id: str) -> McpServer:
    """A server the organisation may change. Raises NotFound, or Conflict for one of the operator."""
    server = (await state.services.mcp.overview(caller.organization_id, server_id)).server
    if server.scope == "operator":
        raise Conflict(f"The server '{server.name}' is the operator's; it is changed in the operator's file.")
    return server


async def _refreshed(state: AppState, caller: Identity, server: McpServer) -> ServerView:
    if server.enabled and server.not_configured is None:
        await state.services.mcp.refresh(server)
    return _view(await state.services.mcp.overview(server.organization_id, server.server_id), caller)


async def _check(state: AppState, server: McpServer) -> None:
    """Raises InvalidInput for an address that can't be one or will be refused, headers that can't be sent, unknown agents."""
    try:
        url = httpx.URL(server.url or "")
    except httpx.InvalidURL:
        raise InvalidInput("url", "must be an address with http:// or https://") from None
    spaced = any(char.isspace() for char in server.url or "")
    if url.scheme not in ("http", "https") or not url.host or spaced or not 0 < (url.port or 80) < 65536:
        raise InvalidInput("url", "must be an address with http:// or https://")
    if url.userinfo:
        raise InvalidInput("url", "must not hold a password; give it in `headers`")
    if state.services.mcp.addresses(server).refused_literal(url.host):
        where = (
            "is in no network that the operator allowed" if server.on_premises else "is a private or loopback address"
        )
        raise InvalidInput(
            "url",
            f"{where}; the operator can allow its network with CONSILIUM_MCP_ALLOWED_NETWORKS",
            reason="address_refused",
        )
    for name, value in server.headers.items():
        if not _HEADER.fullmatch(name) or _OURS.fullmatch(name):
            raise InvalidInput("headers", f"'{name[:60]}' can't be set")
        if len(value) > 8000 or not value.isascii() or not value.isprintable():
            raise InvalidInput("headers", f"the value of {name} must be printable ASCII, at most 8000 characters")
    agents = (await state.skills.read(server.organization_id)).records
    unknown = [name for name in server.agents if name != EVERY_AGENT and name not in agents]
    if unknown:
        raise InvalidInput("agents", f"there is no agent '{unknown[0]}'", available=sorted(agents))


def _shown_address(server: McpServer, caller: Identity) -> str | None:
    """Without its query, where a key may stand, to all but those who can change it."""
    changes = server.scope == "organization" and caller.at_least("admin")
    return server.url if changes or server.url is None else server.url.partition("?")[0]


def _view(overview: Overview, caller: Identity) -> ServerView:
    server, listing = overview.server, overview.listing
    tools = []
    for tool in listing.tools:
        status = listing.status(tool)
        pin = (listing.pins or {}).get(tool.name)
        tools.append(
            ToolView(
                **tool.model_dump(exclude={"sha256"}),
                status=status,
                approved_description=pin.description if pin and status == "changed" else None,
            )
        )
    return ServerView(
        **server.model_dump(include=set(ServerView.model_fields) & set(McpServer.model_fields) - {"url"}),
        url=_shown_address(server, caller),
        header_names=sorted(server.headers),
        state=overview.state,
        reason=overview.reason,
        fingerprint=listing.fingerprint(),
        listed=listing.listed,
        tools=tools,
        server_info=listing.server_info,
        listed_at=listing.listed_at,
        checked_at=listing.checked_at,
    )
