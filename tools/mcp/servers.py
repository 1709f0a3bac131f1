"""The MCP servers of an organisation: its own and the operator's, how they do, and what agents may use of them.

What is known of a server is in the database, for all replicas: a turn reads it and waits for no server, except for one of which
nothing is known yet. A list older than the limit is renewed in the background, at once where the server says that it has changed.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from domain.errors import ToolError
from domain.ids import OrganizationId
from domain.mcp import McpListing, McpReason, McpServer, McpState, McpToolDefinition
from domain.skills import Skill
from storage.mcp_servers import McpRecords, McpServers, missing
from tools.mcp.addresses import Addresses, Network
from tools.mcp.config import OperatorServer
from tools.mcp.failures import Failed, Failure
from tools.mcp.listing import list_tools
from tools.mcp.sessions import McpLimits, Sessions
from tools.mcp.tool import McpTool

log = structlog.get_logger(__name__)
FRESH_SECONDS = 5.0
"""How long what was read from the database is used; a change made in this replica is seen at once."""
KEPT = 2_000
CHANGED_SECONDS = 1.0
AGAIN_SECONDS = 15.0
"""After this time a server that failed is tried again, where an agent could use it."""


@dataclass(frozen=True, slots=True)
class Overview:
    """One server of an organisation as it is now."""

    server: McpServer
    listing: McpListing
    state: McpState
    reason: McpReason | None


class McpToolbox:
    """Reads, refreshes and hands out tools."""

    def __init__(
        self,
        store: McpServers,
        operators: Sequence[OperatorServer],
        limits: McpLimits,
        allowed_networks: Iterable[Network] = (),
    ) -> None:
        self._store = store
        self._operators = operators
        self._limits = limits
        self._sessions = Sessions(limits, allowed_networks, self._tools_changed)
        self._known: OrderedDict[OrganizationId, tuple[float, McpRecords]] = OrderedDict()
        self._due: dict[tuple[OrganizationId, str], asyncio.TimerHandle] = {}
        self._refreshing: dict[tuple[OrganizationId, str], asyncio.Task[None]] = {}

    def addresses(self, server: McpServer) -> Addresses:
        """Where this server may be."""
        return self._sessions.addresses(server)

    async def aclose(self) -> None:
        """Stop refreshing and close every session."""
        for timer in self._due.values():
            timer.cancel()
        for task in list(self._refreshing.values()):
            task.cancel()
        await asyncio.gather(*self._refreshing.values(), return_exceptions=True)
        await self._sessions.aclose()

    async def usable(self, organization_id: OrganizationId, skill: Skill) -> list[McpTool]:
        """What this agent may call now, by server and then as the server lists them."""
        servers = await self._serving(organization_id, skill)
        return [tool for overview in servers for tool in self._tools(overview) if tool.unavailable() is None]

    async def get(self, organization_id: OrganizationId, skill: Skill, name: str) -> McpTool | None:
        """The tool of that name, None where this agent has none. Raises ToolError saying why where it can't be used now."""
        for overview in await self._serving(organization_id, skill):
            for tool in self._tools(overview):
                if tool.name == name:
                    if (why := tool.unavailable()) is not None:
                        raise ToolError(why, tool=name, server=overview.server.name)
                    return tool
        return None

    async def all_tools(
        self, organization_id: OrganizationId, skills: Mapping[str, Skill]
    ) -> list[tuple[McpTool, list[str]]]:
        """Every tool known, with the agents that may use it."""
        found = []
        for overview in await self.overviews(organization_id):
            server = overview.server
            agents = sorted(name for name, skill in skills.items() if server.serves(name, skill.mcp_servers))
            found += [(tool, agents) for tool in self._tools(overview)]
        return found

    async def overviews(self, organization_id: OrganizationId) -> list[Overview]:
        """All servers of the organisation, the operator's first, as they are now."""
        records = await self._records(organization_id)
        operators = [server for one in self._operators if (server := one.of(organization_id)) is not None]
        taken = {server.name for server in operators}
        return [
            self._overview(
                server, records.listings.get(server.server_id), taken if server.scope != "operator" else set()
            )
            for server in (*operators, *records.servers)
        ]

    async def overview(self, organization_id: OrganizationId, server_id: str) -> Overview:
        """One server, read anew. Raises NotFound."""
        self.forget(organization_id)
        for overview in await self.overviews(organization_id):
            if overview.server.server_id == server_id:
                return overview
        raise missing(server_id)

    def forget(self, organization_id: OrganizationId, server_id: str | None = None) -> None:
        """Read this organisation's servers anew; sessions with the server are closed."""
        self._known.pop(organization_id, None)
        if server_id is not None:
            self._sessions.drop(server_id)

    def operator_names(self, organization_id: OrganizationId) -> set[str]:
        """Names that the operator's servers have in this organisation."""
        return {one.server.name for one in self._operators if one.of(organization_id) is not None}

    async def refresh(self, server: McpServer) -> None:
        """List its tools and write down how that went. One refresh at a time; whoever comes meanwhile waits for its end."""
        await asyncio.shield(self._refresh_task(server))

    def _refresh_task(self, server: McpServer) -> asyncio.Task[None]:
        key = (server.organization_id, server.server_id)
        task = self._refreshing.get(key)
        if task is None:
            task = self._refreshing[key] = asyncio.create_task(self._refresh(server))
            task.add_done_callback(lambda _: self._refreshing.pop(key, None))
            task.add_done_callback(_tell)
        return task

    async def _refresh(self, server: McpServer) -> None:
        from mcp import McpError

        failure: Failure | None = None
        for used_before in (self._sessions.has(server), False):
            session = self._sessions.get(server, None)
            try:
                listed = await list_tools(session, self._limits)
                opened = await session.initialized()
            except Failed as failed:
                failure = failed.failure
            except McpError as refused:
                said = server.without_secrets(refused.error.message)[:300]
                failure = Failure("wrong_protocol", "refused", f"refused to list its tools: {said}")
            else:
                failure = None
                break
            self._sessions.discard(session)
            if not used_before or failure.code == "timeout":  # a session may have died of old age: a new one tells
                break
        if failure is not None:
            state: McpState = (
                failure.state if failure.state not in ("ready", "changed", "disabled") else "wrong_protocol"
            )
            await self._store.failed(server, state, failure.reason(server.name))
            log.warning("MCP server failed", server=server.name, state=state, reason=failure.code)
        else:
            info = {
                "name": opened.serverInfo.name[:200],
                "version": opened.serverInfo.version[:200],
                "protocol": str(opened.protocolVersion),
            }
            await self._store.listed(server, listed.tools, listed=listed.total, server_info=info, reason=listed.reason)
        self.forget(server.organization_id)

    def _refresh_soon(self, server: McpServer) -> None:
        self._refresh_task(server)

    def _tools_changed(self, server: McpServer) -> None:
        """After a moment, so that a server that says it all the time is asked once a second; never by a refresh under way, which may
        have read the old list."""
        key = (server.organization_id, server.server_id)
        if key in self._due:
            return

        def due() -> None:
            del self._due[key]
            if key in self._refreshing:
                self._tools_changed(server)
            else:
                self._refresh_soon(server)

        self._due[key] = asyncio.get_running_loop().call_later(CHANGED_SECONDS, due)

    def _failed(self, server: McpServer, failure: Failure) -> None:
        """A call has failed: whether the server has, a refresh finds out."""
        if failure.state != "ready":
            self._refresh_soon(server)

    async def _serving(self, organization_id: OrganizationId, skill: Skill) -> list[Overview]:
        """The servers this agent may use. Waits for those of which nothing is known; has the stale ones refreshed."""
        overviews = [
            one
            for one in await self.overviews(organization_id)
            if one.state != "disabled" and one.server.serves(skill.name, skill.mcp_servers)
        ]
        unknown = [self.refresh(one.server) for one in overviews if one.listing.checked_at is None]
        if unknown:
            await asyncio.gather(*unknown, return_exceptions=True)  # each is told of in the log
            return [
                one
                for one in await self.overviews(organization_id)
                if one.state != "disabled" and one.server.serves(skill.name, skill.mcp_servers)
            ]
        for one in overviews:
            if self._stale(one.listing):
                self._refresh_soon(one.server)
        return overviews

    def _stale(self, listing: McpListing) -> bool:
        if listing.checked_at is None:
            return True
        age = (datetime.now(UTC) - listing.checked_at).total_seconds()
        return age > (self._limits.ttl_seconds if listing.state == "ready" else AGAIN_SECONDS)

    def _tools(self, overview: Overview) -> list[McpTool]:
        return [
            McpTool(overview.server, tool, _why(overview, tool), self._sessions, self._limits, self._failed)
            for tool in overview.listing.tools
        ]

    def _overview(self, server: McpServer, listing: McpListing | None, taken: set[str]) -> Overview:
        known = listing or McpListing()
        if server.not_configured is not None:
            return Overview(server, known, "disabled", McpReason(code="not_configured", message=server.not_configured))
        if not server.enabled:
            reason = McpReason(code="disabled", message=f"The MCP server '{server.name}' is switched off.")
            return Overview(server, known, "disabled", reason)
        if server.name in taken:
            reason = McpReason(
                code="name_taken",
                message=f"The operator has a server named '{server.name}'; add this one under another name.",
            )
            return Overview(server, known, "disabled", reason)
        if known.state != "ready":
            return Overview(server, known, known.state, known.reason)
        waiting = [tool.name for tool in known.tools if known.status(tool) in ("changed", "new")]
        if waiting:
            shown = ", ".join(waiting[:5]) + (f" and {len(waiting) - 5} more" if len(waiting) > 5 else "")
            reason = McpReason(
                code="needs_approval",
                message=f"Tools of the MCP server '{server.name}' are not as they were approved ({shown}); an administrator must "
                "look at them and approve.",
            )
            return Overview(server, known, "changed", reason)
        return Overview(server, known, "ready", known.reason)

    async def _records(self, organization_id: OrganizationId) -> McpRecords:
        known = self._known.get(organization_id)
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        records = await self._store.of(organization_id)
        self._known[organization_id] = (time.monotonic(), records)
        self._known.move_to_end(organization_id)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return records


def _why(overview: Overview, tool: McpToolDefinition) -> str | None:
    """Why a tool can't be used; None where it can."""
    if overview.state not in ("ready", "changed"):
        return (
            overview.reason.message
            if overview.reason
            else f"The MCP server '{overview.server.name}' is not connected yet."
        )
    match overview.listing.status(tool):
        case "withheld":
            return tool.problem
        case "changed":
            return "Its description or schema is not the one that was approved; an administrator must approve it again."
        case "new":
            return "It was not there when the server was approved; an administrator must approve it."
        case "approved":
            return None


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failed := task.exception()) is not None:
        log.error("MCP server could not be refreshed", error=type(failed).__name__)
