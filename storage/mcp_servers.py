"""MCP servers of organisations: their definitions, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from domain.errors import Conflict, NotFound
from domain.ids import OrganizationId
from domain.mcp import McpListing, McpPin, McpReason, McpServer, McpState, McpToolDefinition
from domain.text import clean_json
from storage.database import Database
from storage.queries import load

SQL = load("mcp_servers")
MOST = 50
"""Servers of one organisation."""


@dataclass(frozen=True, slots=True)
class McpRecords:
    """An organisation's own servers by name, and what is known of these and of the operator's, by id."""

    servers: Sequence[McpServer] = ()
    listings: Mapping[str, McpListing] = field(default_factory=dict)


class McpServers:
    """Reads and changes them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of(self, organization_id: OrganizationId) -> McpRecords:
        params = {"organization_id": organization_id}
        async with self._db.tenant(organization_id) as conn:
            found = await conn.execute(SQL["servers"].encode(), params)
            known = await conn.execute(SQL["listings"].encode(), params)
        servers, listings = await found.fetchall(), await known.fetchall()
        return McpRecords(
            [McpServer.model_validate({**row, "scope": "organization"}) for row in servers],
            {row["server_id"]: McpListing.model_validate(row) for row in listings},
        )

    async def add(self, server: McpServer) -> None:
        """Raises Conflict where the name is taken or the organisation has MOST servers."""
        params = _row(server) | {"most": MOST}
        if await self._db.fetch_one(server.organization_id, SQL["add"], params) is None:
            taken = any(other.name == server.name for other in (await self.of(server.organization_id)).servers)
            why = f"has a server '{server.name}'" if taken else f"has {MOST} servers, the most there may be"
            raise Conflict(f"The organisation already {why}.", name=server.name)

    async def update(self, server: McpServer, *, other_place: bool) -> None:
        """Replace the definition of the same version. With `other_place` what was listed and approved is forgotten.
        Raises Conflict where another change came first."""
        if await self._db.fetch_one(server.organization_id, SQL["update"], _row(server)) is None:
            raise Conflict("The server was changed or removed meanwhile; read it again.", server_id=server.server_id)
        if other_place:
            await self._db.execute(server.organization_id, SQL["forget"], _key(server))

    async def delete(self, server: McpServer) -> None:
        await self._db.execute(server.organization_id, SQL["delete"], _key(server))

    async def failed(self, server: McpServer, state: McpState, reason: McpReason) -> None:
        """It could not be listed."""
        params = _key(server) | {
            "state": state,
            "reason": Jsonb(clean_json(reason.model_dump())),
            "version": server.version,
        }
        await self._db.execute(server.organization_id, SQL["failed"], params)

    async def listed(
        self,
        server: McpServer,
        tools: Sequence[McpToolDefinition],
        *,
        listed: int,
        server_info: dict[str, Any],
        reason: McpReason | None,
    ) -> None:
        """What it listed; the first list is approved as it is."""
        params = _key(server) | {
            "reason": Jsonb(clean_json(reason.model_dump())) if reason else None,
            "tools": Jsonb(clean_json([tool.model_dump() for tool in tools])),
            "listed": listed,
            "pins": Jsonb(_pins(tools)),
            "server_info": Jsonb(clean_json(server_info)),
            "version": server.version,
        }
        await self._db.execute(server.organization_id, SQL["listed"], params)

    async def approve(self, server: McpServer, listing: McpListing) -> None:
        """Approve all of this list. Raises Conflict where the server has been listed anew since."""
        params = _key(server) | {"pins": Jsonb(_pins(listing.tools)), "listed_at": listing.listed_at}
        if await self._db.fetch_one(server.organization_id, SQL["approve"], params) is None:
            raise Conflict("The server has been listed anew meanwhile; look at its tools again.")


def missing(server_id: str) -> NotFound:
    return NotFound("MCP server", server_id)


def _pins(tools: Sequence[McpToolDefinition]) -> dict[str, dict[str, Any]]:
    pins = {tool.name: McpPin(sha256=tool.sha256, description=tool.description) for tool in tools if not tool.problem}
    return {name: pin.model_dump() for name, pin in pins.items()}


def _key(server: McpServer) -> dict[str, Any]:
    return {"organization_id": server.organization_id, "server_id": server.server_id}


def _row(server: McpServer) -> dict[str, Any]:
    return {
        **server.model_dump(),
        "headers": Jsonb(server.headers),
        "agents": list(server.agents),
        "only": None if server.only is None else list(server.only),
    }
