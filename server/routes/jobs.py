"""What the product works at for the organisation: runs of agents, and documents that are read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from domain.jobs import Job, JobKind, JobStatus
from server.deps import CallerDep, StateDep

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[Job]


@router.get("")
async def list_jobs(
    state: StateDep,
    caller: CallerDep,
    kind: JobKind | None = None,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> JobList:
    """The organisation's jobs; members see their own. Runs are those of the 1,000 conversations last active, of a document the
    newest version's."""
    user_id = None if caller.at_least("manager") else caller.user_id
    found = await state.jobs.list(
        caller.organization_id, user_id=user_id, kind=kind, status=status, limit=limit, offset=offset
    )
    return JobList(jobs=found)
