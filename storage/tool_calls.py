"""Records of tool calls: pending -> running -> succeeded / failed / denied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from domain.ids import OrganizationId, RunId, ThreadId, ToolCallId
from domain.runs import ToolCallStatus
from domain.text import clean_json
from domain.tools import ToolCallRecord, ToolResult
from storage.connection import Statement
from storage.database import Database
from storage.fence import fenced, held
from storage.queries import load
from storage.saver import current_acting, write_pending

Q = load("tool_calls")


class ToolCalls:
    """The tool calls of one organisation's runs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def start(
        self,
        organization_id: OrganizationId,
        run_id: RunId,
        thread_id: ThreadId,
        tool_call_id: ToolCallId,
        *,
        agent: str,
        name: str,
        arguments: dict[str, Any],
        status: ToolCallStatus = "running",
    ) -> None:
        """Record a call before it is executed, and with it what led to it: a call is never repeated under another id because
        the checkpoint that holds its own was still to be written."""
        acting = current_acting()
        if acting is not None:
            await write_pending(self._db, acting)
        await self._write(
            organization_id,
            "start",
            {
                "organization_id": organization_id,
                "run_id": run_id,
                "thread_id": thread_id,
                "tool_call_id": tool_call_id,
                "agent": agent,
                "name": name,
                "status": status,
                "arguments": Jsonb(clean_json(arguments)),
            },
        )

    async def propose(
        self,
        organization_id: OrganizationId,
        run_id: RunId,
        thread_id: ThreadId,
        tool_call_id: ToolCallId,
        *,
        agent: str,
        name: str,
        arguments: dict[str, Any],
    ) -> None:
        """Record a call that waits for a decision. One that waits since an earlier run is this run's now."""
        await self.adopt(organization_id, run_id, thread_id, [tool_call_id])
        await self.start(
            organization_id,
            run_id,
            thread_id,
            tool_call_id,
            agent=agent,
            name=name,
            arguments=arguments,
            status="pending",
        )

    async def adopt(
        self, organization_id: OrganizationId, run_id: RunId, thread_id: ThreadId, tool_call_ids: Sequence[str]
    ) -> None:
        """Calls that waited for a decision belong to the run that goes on with it."""
        params = {"run_id": run_id, "thread_id": thread_id, "tool_call_ids": list(tool_call_ids)}
        await self._write(organization_id, "adopt", params)

    async def abandon_waiting(
        self, organization_id: OrganizationId, run_id: RunId, root_thread_id: ThreadId, result: ToolResult
    ) -> None:
        """Close the calls, a conversation's and its children's, that nobody decided about: this run goes on without."""
        dumped = Jsonb(result.model_dump(mode="json"))
        params = {"run_id": run_id, "thread_id": root_thread_id, "result": dumped}
        await self._write(organization_id, "abandon_waiting", params)

    async def finish(
        self,
        organization_id: OrganizationId,
        run_id: RunId,
        thread_id: ThreadId,
        tool_call_id: ToolCallId,
        status: ToolCallStatus,
        result: ToolResult,
    ) -> None:
        """Record how it ended. Raises StaleFence where the run was taken over meanwhile: its new holder makes the call anew."""
        await self._write(
            organization_id,
            "finish",
            {
                "run_id": run_id,
                "thread_id": thread_id,
                "tool_call_id": tool_call_id,
                "status": status,
                "result": Jsonb(clean_json(result.model_dump(mode="json"))),
            },
        )

    async def _write(self, organization_id: OrganizationId, query: str, params: dict[str, Any]) -> None:
        """As the holder of the run, where this task is one."""
        acting = current_acting()
        proof = [held(acting.run_id, acting.fence)] if acting is not None and acting.run_id is not None else []
        with fenced(acting.run_id if acting is not None else None):
            await self._db.batch_again(organization_id, [*proof, (Q[query], params)])

    async def of_thread(self, organization_id: OrganizationId, thread_id: ThreadId) -> list[ToolCallRecord]:
        """A conversation's calls, oldest first."""
        rows = await self._db.fetch_all(organization_id, Q["by_thread"], {"thread_id": thread_id})
        return [ToolCallRecord.model_validate(row) for row in rows]


def abandoned(run_id: RunId, result: ToolResult) -> Statement:
    """Closes the calls a run left open."""
    return Q["abandon"], {"run_id": run_id, "result": Jsonb(result.model_dump(mode="json"))}
