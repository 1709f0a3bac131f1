"""The work of an organisation as a list, whatever table keeps it. Its transitions are made where it is done."""

from __future__ import annotations

from typing import Any

from domain.ids import OrganizationId, UserId
from domain.jobs import Job, JobKind, JobStatus
from storage.database import Database
from storage.queries import load

SQL = load("jobs")
CONVERSATIONS = 1000
"""How far back runs are listed: in this many conversations, those last active."""


class Jobs:
    """Reading jobs of one organisation."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(
        self,
        organization_id: OrganizationId,
        *,
        user_id: UserId | None,
        kind: JobKind | None = None,
        status: JobStatus | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> list[Job]:
        """Newest first; with `user_id` that user's alone."""
        params: dict[str, Any] = {
            "organization_id": organization_id,
            "user_id": user_id,
            "kind": kind,
            "status": status,
            "conversations": CONVERSATIONS,
            "limit": limit,
            "offset": offset,
        }
        return [Job(**row) for row in await self._db.fetch_all(organization_id, SQL["list"], params)]
