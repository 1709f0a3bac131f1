"""Runs as rows: what is kept of an execution. The transitions between states are made in jobs/."""

from __future__ import annotations

from typing import Any

from domain.errors import NotFound
from domain.ids import OrganizationId, RunId, ThreadId, is_uuid
from domain.runs import Run, RunStatus
from storage.database import Database, Row
from storage.queries import load

Q = load("runs")
_FIELDS = (
    "run_id", "thread_id", "organization_id", "user_id", "assistant_id", "graph_id", "status", "created_at", "updated_at",
    "trace_id", "kwargs", "metadata", "multitask_strategy", "attempt", "fence", "cancel_requested", "error", "job_id",
    "waited_seconds", "skills_generation",
)  # fmt: skip


def run_of(row: Row) -> Run:
    """The run of a `runs` row."""
    return Run(**{name: row[name] for name in _FIELDS})


class Runs:
    """Reading runs of one organisation. A foreign or malformed id raises NotFound, as a missing one does."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, organization_id: OrganizationId, thread_id: ThreadId, run_id: RunId) -> Run:
        row = None
        if is_uuid(thread_id) and is_uuid(run_id):
            row = await self._db.fetch_one(organization_id, Q["get"], {"run_id": run_id, "thread_id": thread_id})
        if row is None:
            raise NotFound("run", run_id, thread_id=thread_id[:200])
        return run_of(row)

    async def find(self, organization_id: OrganizationId, run_id: RunId) -> Run | None:
        """A run by its id alone."""
        row = await self._db.fetch_one(organization_id, Q["find"], {"run_id": run_id})
        return run_of(row) if row else None

    async def list(
        self,
        organization_id: OrganizationId,
        thread_id: ThreadId,
        *,
        limit: int,
        offset: int,
        status: RunStatus | None = None,
    ) -> list[Run]:
        """A thread's runs, newest first."""
        params: dict[str, Any] = {"thread_id": thread_id, "status": status, "limit": limit, "offset": offset}
        return [run_of(row) for row in await self._db.fetch_all(organization_id, Q["list"], params)]

    async def delete(self, organization_id: OrganizationId, thread_id: ThreadId, run_id: RunId) -> bool:
        """Forget a run that is over. False where it isn't over."""
        return bool(await self._db.fetch_all(organization_id, Q["delete"], {"run_id": run_id, "thread_id": thread_id}))
