"""The database's refusal of a write by one who lost the run, as the error it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import DatabaseError

from domain.errors import StaleFence
from domain.ids import RunId
from storage.connection import Statement
from storage.queries import load

Q = load("runs")
FENCE_LOST = "CN001"


def held(run_id: RunId | None, fence: int | None) -> Statement:
    """Fails unless the run is held with this fence."""
    return Q["assert_fence"], [run_id, fence]


@contextmanager
def fenced(run_id: RunId | None) -> Iterator[None]:
    """Around a whole transaction with `held` in it, its end included: raises StaleFence where the fence was refused."""
    try:
        yield
    except DatabaseError as refused:
        if refused.sqlstate != FENCE_LOST:
            raise
        raise StaleFence(f"Run {run_id} is held by another process.", run_id=run_id) from refused
