"""Who changed what of an organisation, and within which request. Only ever added to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from domain.ids import OrganizationId, TraceId, UserId
from domain.trace import current_trace_id
from storage.database import Connection, Database
from storage.queries import load

Q = load("audit_log")


@dataclass(frozen=True, slots=True)
class Change:
    """One change. What `details` holds depends on the action."""

    change_id: int
    at: datetime
    user_id: UserId
    trace_id: TraceId
    action: str
    details: dict[str, Any]


async def record_change(
    conn: Connection,
    organization_id: OrganizationId,
    user_id: UserId,
    kind: str,
    subject: str,
    action: str,
    details: dict[str, Any],
) -> None:
    """Tell of a change within its own transaction: both are there or neither."""
    params = {
        "organization_id": organization_id,
        "user_id": user_id,
        "trace_id": current_trace_id(),
        "kind": kind,
        "subject": subject,
        "action": action,
        "details": Jsonb(details),
    }
    await conn.execute(Q["add"].encode(), params)


class AuditLog:
    """Reads the changes of one organisation."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(
        self, organization_id: OrganizationId, kind: str, subject: str, *, limit: int, offset: int
    ) -> tuple[list[Change], int]:
        """A page of the changes of one thing, newest first, and how many there are."""
        params = {
            "organization_id": organization_id,
            "kind": kind,
            "subject": subject,
            "limit": limit,
            "offset": offset,
        }
        rows = await self._db.fetch_all(organization_id, Q["page"], params)
        if rows:
            return [Change(**{key: row[key] for key in Change.__slots__}) for row in rows], int(rows[0]["total"])
        counted = await self._db.fetch_one(organization_id, Q["count"], params)
        return [], int(counted["total"]) if counted else 0
