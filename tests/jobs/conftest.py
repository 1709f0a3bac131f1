"""Two replicas over one database, and a look at its rows past row-level security."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from psycopg import connect
from psycopg.rows import dict_row

from domain.ids import AssistantId, OrganizationId, RunId, ThreadId, TraceId, UserId, assistant_id, new_id, new_trace_id
from jobs.engine import JobEngine
from jobs.submission import Submission, fingerprint
from storage.database import Database, open_pool

Look = Callable[..., list[dict[str, Any]]]


@pytest.fixture
async def replicas(app_dsn: str) -> AsyncIterator[tuple[JobEngine, JobEngine]]:
    """Two started engines, each with a pool of its own as two processes have."""
    pools = [open_pool(app_dsn, min_size=1, max_size=8) for _ in range(2)]
    engines = [JobEngine(Database(pool), holder=f"replica-{n}", lease_seconds=60) for n, pool in enumerate(pools)]
    for pool, engine in zip(pools, engines, strict=True):
        await pool.open()
        await engine.start()
    yield engines[0], engines[1]
    for pool, engine in zip(pools, engines, strict=True):
        await engine.stop()
        await pool.close()


@pytest.fixture
def look(owner_dsn: str) -> Iterator[Look]:
    """Runs one statement as the owner; returns its rows, ids as strings."""
    with connect(owner_dsn, row_factory=dict_row, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")

        def run(statement: str, *params: Any) -> list[dict[str, Any]]:
            cursor = conn.execute(statement.encode(), params)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture
def submission(organization: OrganizationId) -> Callable[..., Submission]:
    """Makes a submission of user `ann`; a thread is made for it unless one is given."""

    def make(thread_id: ThreadId | None = None, **changes: Any) -> Submission:
        assistant: AssistantId = assistant_id("supervisor")
        values: dict[str, Any] = {
            "run_id": RunId(new_id()),
            "thread_id": thread_id or ThreadId(new_id()),
            "organization_id": organization,
            "user_id": UserId("ann"),
            "see_all_threads": False,
            "assistant_id": assistant,
            "graph_id": "supervisor",
            "trace_id": TraceId(new_trace_id()),
            "kwargs": {"input": {"messages": []}},
            "metadata": {},
            "multitask_strategy": "enqueue",
            "create_thread": True,
            "thread_metadata": {},
            "idempotency_key": None,
            "fingerprint": fingerprint({"input": "x"}),
        }
        return Submission(**{**values, **changes})

    return make
