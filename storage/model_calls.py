"""Records of model calls: what was considered, tried and used. They explain a run afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from domain.calls import CallRecord
from domain.ids import OrganizationId, RunId, ThreadId, TraceId, UserId
from domain.text import clean_json
from storage.connection import Statement
from storage.database import Database
from storage.queries import load

Q = load("model_calls")
MAX_OF_TRACE = 1_000
_DETAIL = frozenset({"policy", "candidates", "eliminations", "attempts", "quota"})


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call and when it ended."""

    record: CallRecord
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class UnrecordedCall:
    """A ledger entry without a record: under way while `status` is `reserved`, otherwise lost with its process. Tokens."""

    entry_id: str
    call_id: str | None
    thread_id: ThreadId | None
    agent: str
    purpose: str
    provider: str
    model: str
    status: str
    reserved: int
    prompt: int | None
    completion: int | None
    source: str | None
    created_at: datetime
    settled_at: datetime | None


def inserted(record: CallRecord) -> Statement:
    """Writes a record."""
    data = record.model_dump(mode="json")
    detail = {key: data.pop(key) for key in _DETAIL}
    return Q["insert"], {**data, "detail": Jsonb(clean_json(detail))}


class ModelCalls:
    """The calls of one organisation's runs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, record: CallRecord) -> None:
        """Write a record in a transaction of its own."""
        await self._db.batch(record.organization_id, [inserted(record)])

    async def of_run(self, organization_id: OrganizationId, run_id: RunId) -> list[StoredCall]:
        """Oldest first."""
        rows = await self._db.fetch_all(organization_id, Q["by_run"], {"run_id": run_id})
        return [_stored(row) for row in rows]

    async def of_trace(
        self, organization_id: OrganizationId, trace_id: TraceId, *, user_id: UserId | None
    ) -> list[StoredCall]:
        """Of a request, oldest first, at most MAX_OF_TRACE: a client may choose the same trace for many. None is every user's."""
        params = {"trace_id": trace_id, "user_id": user_id, "limit": MAX_OF_TRACE}
        rows = await self._db.fetch_all(organization_id, Q["by_trace"], params)
        return [_stored(row) for row in rows]

    async def unrecorded(self, organization_id: OrganizationId, run_id: RunId) -> list[UnrecordedCall]:
        """What the ledger knows of calls that have no record, oldest first."""
        rows = await self._db.fetch_all(organization_id, Q["unrecorded"], {"run_id": run_id})
        return [UnrecordedCall(**row) for row in rows]


def _stored(row: dict[str, Any]) -> StoredCall:
    detail, ended_at = row.pop("detail"), row.pop("created_at")
    return StoredCall(CallRecord.model_validate({**row, **detail}), ended_at)
