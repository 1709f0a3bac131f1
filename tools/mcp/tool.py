"""A tool of an MCP server, as agents see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.errors import ToolError
from domain.ids import EffectId
from domain.mcp import IDEMPOTENCY_KEY, McpServer, McpToolDefinition
from tools.base import ToolContext, ToolOutput
from tools.mcp.content import text_of
from tools.mcp.failures import SESSION_LOST, Failed, Failure
from tools.mcp.sessions import McpLimits, Sessions

if TYPE_CHECKING:
    from mcp import ClientSession, types

MAX_ERROR_CHARS = 2000


@dataclass(frozen=True, slots=True)
class McpTool:
    """Calls go over the session of the caller; whatever becomes of the server costs one ToolError. `failed` is told of a failure."""

    server: McpServer
    definition: McpToolDefinition
    why_unavailable: str | None
    sessions: Sessions
    limits: McpLimits
    failed: Callable[[McpServer, Failure], None]

    @property
    def name(self) -> str:
        return self.definition.exposed

    @property
    def description(self) -> str:
        return self.definition.description

    @property
    def parameters(self) -> dict[str, Any]:
        return self.definition.parameters

    @property
    def side_effect(self) -> bool:
        return self.definition.side_effect

    @property
    def outside(self) -> bool:
        return True

    @property
    def idempotent(self) -> bool:
        return self.definition.idempotent

    def unavailable(self) -> str | None:
        return self.why_unavailable

    async def call(self, context: ToolContext, arguments: dict[str, Any]) -> ToolOutput:
        """Raises ToolTimedOut, ToolUnavailable, ToolRateLimited, ToolRejected or ToolProtocolError for a failure of the server, and
        ToolError for one that the tool itself reports."""
        from mcp import McpError

        server = self.server
        if context.local_only and not server.on_premises:
            raise ToolError(
                f"Not called: this conversation has read documents that must not leave the premises, and '{server.name}' is "
                "outside. Answer from the sources at hand.",
                reason="local_only",
            )
        try:
            result = await self._ask(context, arguments)
        except Failed as failed:
            self.failed(server, failed.failure)
            raise failed.failure.error(server.name) from None
        except McpError as refused:
            message = refused.error.message[:MAX_ERROR_CHARS]
            raise ToolError(
                f"The MCP server '{server.name}' refused: {message}", server=server.name, rpc_code=refused.error.code
            ) from None
        said = text_of(result)
        if result.isError:
            raise ToolError(said[:MAX_ERROR_CHARS] or "The tool failed and did not say why.", server=server.name)
        return ToolOutput(said[: self.limits.max_result_chars])

    async def _ask(self, context: ToolContext, arguments: dict[str, Any]) -> types.CallToolResult:
        """A session that the server has forgotten is opened anew, once: the call was not carried out."""
        seconds = self.server.call_seconds or self.limits.call_seconds
        request = _call(self.definition.name, arguments, context.effect_id)
        for last in (False, True):
            session = self.sessions.get(self.server, context.user_id)
            try:
                result: types.CallToolResult = await session.ask(request, seconds, f"answer {self.definition.name}")
                return result
            except Failed as failed:
                if failed.failure is SESSION_LOST:
                    self.sessions.discard(session)
                if failed.failure is not SESSION_LOST or last:
                    raise
        raise AssertionError("the loop ends by itself")


def _call(name: str, arguments: dict[str, Any], effect_id: EffectId | None) -> Any:
    async def ask(session: ClientSession) -> types.CallToolResult:
        from mcp import types

        # not `call_tool`: it lists the tools once more to validate what nobody here reads
        meta = {"_meta": {IDEMPOTENCY_KEY: effect_id}} if effect_id is not None else {}
        params = types.CallToolRequestParams.model_validate({"name": name, "arguments": arguments, **meta})
        request = types.ClientRequest(types.CallToolRequest(params=params))
        return await session.send_request(request, types.CallToolResult)

    return ask
