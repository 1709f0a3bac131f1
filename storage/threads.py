"""Threads as rows: conversations and their child conversations. Their state lives in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from psycopg.types.json import Jsonb

from domain.errors import Conflict, NotFound
from domain.identity import Identity
from domain.ids import OrganizationId, ThreadId, UserId, is_uuid, new_id
from domain.runs import Thread, ThreadStatus
from storage.database import Database, Row
from storage.queries import load

Q = load("threads")
ThreadSort = Literal["thread_id", "status", "created_at", "updated_at"]
SortOrder = Literal["asc", "desc"]
IfExists = Literal["raise", "do_nothing"]
_FIELDS = (
    "thread_id", "organization_id", "user_id", "created_at", "updated_at", "status", "metadata", "parent_thread_id",
    "parent_tool_call_id", "root_thread_id", "agent", "child_status", "checkpoint_ns",
)  # fmt: skip


def thread_of(row: Row) -> Thread:
    """The thread of a `threads` row."""
    return Thread(**{name: row[name] for name in _FIELDS})


def _only_user(caller: Identity) -> UserId | None:
    """Whose threads the caller sees: a member's own, everyone's (None) from manager up."""
    return None if caller.at_least("manager") else caller.user_id


class Threads:
    """The threads a caller may see: a member their own, a manager all of the organisation.

    A foreign, another member's or malformed id raises NotFound, as a missing one does.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(
        self,
        caller: Identity,
        *,
        thread_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        if_exists: IfExists = "raise",
    ) -> Thread:
        """A new thread of the caller's; with `do_nothing` the caller's existing one of that id.

        Raises Conflict where the id is taken. The answer is the same whoever holds it, so it tells nothing of other tenants.
        """
        row = await self._db.fetch_one(
            caller.organization_id,
            Q["create"],
            {
                "thread_id": thread_id or new_id(),
                "organization_id": caller.organization_id,
                "user_id": caller.user_id,
                "metadata": Jsonb(dict(metadata or {})),
            },
        )
        if row is None and if_exists == "do_nothing" and thread_id is not None:
            row = await self._find(caller, thread_id)
        if row is None:
            raise Conflict(
                f"The thread id '{thread_id}' is taken: leave thread_id out to get a fresh one, or send if_exists=do_nothing "
                "to go on with a thread of yours.",
                kind="thread",
                id=thread_id,
            )
        return thread_of(row)

    async def get(self, caller: Identity, thread_id: str) -> Thread:
        row = await self._find(caller, thread_id)
        if row is None:
            raise NotFound("thread", thread_id)
        return thread_of(row)

    async def _find(self, caller: Identity, thread_id: str) -> Row | None:
        if not is_uuid(thread_id):
            return None
        params = {"thread_id": thread_id, "user_id": _only_user(caller)}
        return await self._db.fetch_one(caller.organization_id, Q["get"], params)

    async def search(
        self,
        caller: Identity,
        *,
        metadata: Mapping[str, Any] | None = None,
        status: ThreadStatus | None = None,
        ids: Sequence[str] | None = None,
        parent_thread_id: str | None = None,
        sort_by: ThreadSort = "created_at",
        sort_order: SortOrder = "desc",
        limit: int = 10,
        offset: int = 0,
    ) -> list[Thread]:
        """Threads whose metadata contain `metadata`. Child conversations come only by `ids` or `parent_thread_id`."""
        rows = await self._db.fetch_all(
            caller.organization_id,
            Q["search"],
            {
                "user_id": _only_user(caller),
                "metadata": Jsonb(dict(metadata or {})),
                "status": status,
                "ids": list(ids) if ids is not None else None,
                "parent_thread_id": parent_thread_id,
                "sort": f"{sort_by} {sort_order}",
                "limit": limit,
                "offset": offset,
            },
        )
        return [thread_of(row) for row in rows]

    async def count(
        self, caller: Identity, *, metadata: Mapping[str, Any] | None = None, status: ThreadStatus | None = None
    ) -> int:
        """How many conversations `search` would find; children are not counted."""
        params = {"user_id": _only_user(caller), "metadata": Jsonb(dict(metadata or {})), "status": status}
        row = await self._db.fetch_one(caller.organization_id, Q["count"], params)
        return int(row["threads"]) if row else 0

    async def patch(self, caller: Identity, thread_id: str, metadata: Mapping[str, Any]) -> Thread:
        """Merge `metadata` into the thread's, key by key; a key can be set to null, not removed."""
        row = None
        if is_uuid(thread_id):
            params = {"thread_id": thread_id, "user_id": _only_user(caller), "metadata": Jsonb(dict(metadata))}
            row = await self._db.fetch_one(caller.organization_id, Q["patch"], params)
        if row is None:
            raise NotFound("thread", thread_id)
        return thread_of(row)

    async def children(self, organization_id: OrganizationId, thread_id: ThreadId) -> list[Thread]:
        """The child conversations of a thread, oldest first."""
        rows = await self._db.fetch_all(organization_id, Q["children"], {"thread_id": thread_id})
        return [thread_of(row) for row in rows]

    async def set_status(self, organization_id: OrganizationId, thread_id: ThreadId, status: ThreadStatus) -> None:
        await self._db.execute(organization_id, Q["set_status"], {"thread_id": thread_id, "status": status})

    async def delete(self, caller: Identity, thread_id: str) -> None:
        """Forget a thread with its children, runs, events and checkpoints, in one transaction.

        Raises Conflict for a child conversation: it goes with its parent.
        """
        thread = await self.get(caller, thread_id)
        if thread.parent_thread_id is not None:
            raise Conflict(
                f"Thread '{thread.thread_id}' is a child conversation and is deleted with its parent "
                f"'{thread.parent_thread_id}'.",
                kind="thread",
                id=thread.thread_id,
                parent_thread_id=thread.parent_thread_id,
            )
        state_id = f"{thread.organization_id}:{thread.thread_id}"
        async with self._db.tenant(caller.organization_id) as conn:
            params = {"thread_id": thread.thread_id, "user_id": _only_user(caller)}
            await conn.execute(Q["delete"].encode(), params)
            await conn.execute(Q["delete_checkpoints"].encode(), {"thread_id": state_id})
