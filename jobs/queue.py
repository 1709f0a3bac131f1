"""The queue: procrastinate's JobManager bound to the connection of our transaction, so that a run's row and its job move as one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from procrastinate import connector, exceptions
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from psycopg.types.json import Jsonb

from domain.ids import RunId, ThreadId
from storage.database import Connection

RUNS_QUEUE = "runs"
RUN_TASK = "run"
AT_ONCE = datetime(2000, 1, 1, tzinfo=UTC)
"""Any past moment: no clock of ours decides when a job is due."""


class _BoundConnector(connector.BaseAsyncConnector):
    """Executes the engine's named queries on one open connection; opens and commits nothing."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    async def execute_query_async(self, query: str, **arguments: Any) -> None:
        await self._conn.execute(query.encode(), self._arguments(arguments))

    async def execute_query_one_async(self, query: str, **arguments: Any) -> dict[str, Any]:
        rows = await self.execute_query_all_async(query, **arguments)
        if not rows:
            raise exceptions.NoResult
        return rows[0]

    async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        cursor = await self._conn.execute(query.encode(), self._arguments(arguments))
        return await cursor.fetchall()

    @classmethod
    def _adapt(cls, value: Any) -> Any:
        """Objects as jsonb; a job travels as a row tuple whose `args` is one."""
        if isinstance(value, dict):
            return Jsonb(value)
        if isinstance(value, list):
            return [cls._adapt(item) for item in value]
        return tuple(cls._adapt(item) for item in value) if isinstance(value, tuple) else value

    @classmethod
    def _arguments(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        return {name: cls._adapt(value) for name, value in arguments.items()}


class Queue:
    """The queue within one transaction that has assumed the engine's role."""

    def __init__(self, conn: Connection) -> None:
        self._jobs = JobManager(_BoundConnector(conn))

    async def put(self, run_id: RunId, thread_id: ThreadId, *, priority: int = 0) -> int:
        """Queue a run; its thread is the lock, so a thread's runs go one by one, in order. Returns the job's id."""
        job = Job(
            id=None,
            queue=RUNS_QUEUE,
            lock=thread_id,
            queueing_lock=None,
            task_name=RUN_TASK,
            task_kwargs={"run_id": run_id},
            priority=priority,
        )
        return int((await self._jobs.defer_job_async(job)).id or 0)

    async def take(self, worker_id: int) -> tuple[int, RunId] | None:
        """Fetch the next eligible job: (job id, run id), or None. SKIP LOCKED; the job is `doing` when we commit."""
        job = await self._jobs.fetch_job([RUNS_QUEUE], worker_id)
        return None if job is None else (int(job.id or 0), RunId(str(job.task_kwargs["run_id"])))

    async def done(self, job_id: int) -> None:
        """Forget a job; the run's row is the record."""
        await self._jobs.finish_job_by_id_async(job_id, Status.SUCCEEDED, delete_job=True)

    async def put_back(self, job_id: int, *, due: datetime = AT_ONCE) -> None:
        """Make a job that is being done eligible again, in its old place, once it is `due`."""
        await self._jobs.retry_job_by_id_async(job_id, retry_at=due)

    async def register_worker(self) -> int:
        """This replica's id among the queue's workers."""
        return int(await self._jobs.register_worker())

    async def unregister_worker(self, worker_id: int) -> None:
        await self._jobs.unregister_worker(worker_id)
