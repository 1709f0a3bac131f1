"""Child conversations: a specialist's own thread, opened by a tool call of its parent."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.types.json import Jsonb

from domain.ids import OrganizationId, ThreadId, ToolCallId
from domain.runs import ChildStatus
from storage.connection import Statement
from storage.database import Database
from storage.queries import load

Q = load("children")


@dataclass(frozen=True, slots=True)
class Child:
    """A child as its parent knows it. `checkpoint_ns` is where its last turn's state lies under the root thread."""

    thread_id: ThreadId
    agent: str
    child_status: ChildStatus
    checkpoint_ns: str
    parent_tool_call_id: ToolCallId


class Children:
    """The child conversations of one organisation's threads."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def open(
        self,
        organization_id: OrganizationId,
        parent_thread_id: ThreadId,
        thread_id: ThreadId,
        tool_call_id: ToolCallId,
        *,
        agent: str,
        task: str,
        checkpoint_ns: str,
    ) -> None:
        """Begin a child, or take up a known one again; idempotent for one id. Its status becomes `waiting`."""
        await self._db.execute(
            organization_id,
            Q["open"],
            {
                "thread_id": thread_id,
                "parent_thread_id": parent_thread_id,
                "tool_call_id": tool_call_id,
                "agent": agent,
                "checkpoint_ns": checkpoint_ns,
                "metadata": Jsonb({"graph_id": agent, "task": task[:500]}),
            },
        )

    async def get(
        self, organization_id: OrganizationId, parent_thread_id: ThreadId, thread_id: ThreadId
    ) -> Child | None:
        """A child of this parent by id; None for any other thread."""
        row = await self._db.fetch_one(
            organization_id, Q["get"], {"thread_id": thread_id, "parent_thread_id": parent_thread_id}
        )
        return Child(**row) if row else None

    async def set_status(self, organization_id: OrganizationId, thread_id: ThreadId, status: ChildStatus) -> None:
        await self._db.execute(organization_id, Q["set_status"], {"thread_id": thread_id, "status": status})

    async def fail_waiting(self, organization_id: OrganizationId, root_thread_id: ThreadId) -> None:
        """Mark those that wait for something which won't come as failed."""
        await self._db.execute(organization_id, Q["fail_waiting"], {"thread_id": root_thread_id})

    async def waiting(self, organization_id: OrganizationId, root_thread_id: ThreadId) -> list[str]:
        """The checkpoint namespaces of the children that are being worked in."""
        rows = await self._db.fetch_all(organization_id, Q["waiting"], {"thread_id": root_thread_id})
        return [row["checkpoint_ns"] for row in rows]


def waiting_failed(thread_id: ThreadId) -> Statement:
    """Marks the children a run was working in as failed."""
    return Q["fail_waiting"], {"thread_id": thread_id}
