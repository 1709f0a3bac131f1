"""The durable log of run events: one row a flush, `seq` gapless per thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from domain.ids import OrganizationId, RunId, ThreadId
from storage.connection import Statement
from storage.database import Database
from storage.fence import fenced, held
from storage.queries import load
from storage.saver import Acting, pending

Q = load("events")


@dataclass(frozen=True, slots=True)
class Flush:
    """Consecutive events as they were stored: the first has `seq_first`, the last `seq_last` and, with `terminal`, ends its run."""

    seq_first: int
    seq_last: int
    terminal: bool
    events: list[dict[str, Any]]


def appended(
    organization_id: OrganizationId,
    thread_id: ThreadId,
    run_id: RunId,
    events: Sequence[tuple[int, dict[str, Any]]],
    *,
    terminal: bool,
) -> Statement:
    """Appends events, given as (seq, {method, ns, data}) in order.

    It fails, as one that has lost its fence (storage/fence.py), where the thread's log has moved on without us: only another
    holder of the run can have done that.
    """
    return Q["append"], {
        "organization_id": organization_id,
        "thread_id": thread_id,
        "run_id": run_id,
        "seq_first": events[0][0],
        "seq_last": events[-1][0],
        "terminal": terminal,
        "events": Jsonb([event for _, event in events]),
    }


class Events:
    """Reading and writing the log."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def append(
        self,
        organization_id: OrganizationId,
        thread_id: ThreadId,
        run_id: RunId,
        fence: int,
        events: list[tuple[int, dict[str, Any]]],
        acting: Acting,
    ) -> None:
        """One flush in its own fenced transaction, with the checkpoints that led to it: no event tells of a state that could
        still be lost. Raises StaleFence."""
        # The thread is locked before the run, as everywhere: the other way round a cancel would deadlock with this.
        moved = appended(organization_id, thread_id, run_id, events, terminal=False)
        async with pending(acting) as put_by:
            with fenced(run_id):
                await self._db.batch(organization_id, [moved, held(run_id, fence), *put_by])

    async def last_seq(self, organization_id: OrganizationId, thread_id: ThreadId) -> tuple[int, bool]:
        """The thread's last sequence number, and whether its last run ended at an interrupt; 0 and False where nothing was logged or
        the thread is gone."""
        row = await self._db.fetch_one(organization_id, Q["last_seq"], {"thread_id": thread_id})
        return (int(row["last_seq"]), bool(row["interrupted"])) if row else (0, False)

    async def after(self, organization_id: OrganizationId, run_id: RunId, after_seq: int) -> list[Flush]:
        """A run's flushes that reach past `after_seq`, in order."""
        rows = await self._db.fetch_all(organization_id, Q["after"], {"run_id": run_id, "after": after_seq})
        return [Flush(**row) for row in rows]
