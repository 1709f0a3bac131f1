"""The queue: procrastinate's JobManager bound to the connection of our transaction, so that a run's row and its job move as one.

A job comes and goes with the statements that accept, claim and finish its run (storage/sql/runs.sql); here is the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from procrastinate import connector, exceptions
from procrastinate.manager import JobManager

from storage.database import Connection

AT_ONCE = datetime(2000, 1, 1, tzinfo=UTC)
"""Any past moment: no clock of ours decides when a job is due."""


class _BoundConnector(connector.BaseAsyncConnector):
    """Executes the engine's named queries on one open connection; opens and commits nothing."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    async def execute_query_async(self, query: str, **arguments: Any) -> None:
        await self._conn.execute(query.encode(), arguments)

    async def execute_query_one_async(self, query: str, **arguments: Any) -> dict[str, Any]:
        rows = await self.execute_query_all_async(query, **arguments)
        if not rows:
            raise exceptions.NoResult
        return rows[0]

    async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        cursor = await self._conn.execute(query.encode(), arguments)
        return await cursor.fetchall()


class Queue:
    """The queue within one transaction that has assumed the engine's role."""

    def __init__(self, conn: Connection) -> None:
        self._jobs = JobManager(_BoundConnector(conn))

    async def put_back(self, job_id: int, *, due: datetime = AT_ONCE) -> None:
        """Make a job that is being done eligible again, in its old place, once it is `due`."""
        await self._jobs.retry_job_by_id_async(job_id, retry_at=due)

    async def register_worker(self) -> int:
        """This replica's id among the queue's workers."""
        return int(await self._jobs.register_worker())

    async def unregister_worker(self, worker_id: int) -> None:
        await self._jobs.unregister_worker(worker_id)
