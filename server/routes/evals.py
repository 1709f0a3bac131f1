"""How good this installation's agents are: the report that the last evaluation left."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ValidationError

from domain.evaluation import Case, EvalReport, Metric
from domain.identity import Identity
from server.deps import StateDep, require

router = APIRouter(prefix="/v1/evals", tags=["evals"])
AdminDep = Annotated[Identity, Depends(require("admin"))]
REPORT = "report.json"
COMMAND = "make eval"
log = structlog.get_logger(__name__)


class Suite(BaseModel):
    """How the cases of one kind went."""

    suite: str
    passed: int
    failing: int
    skipped: int


class ReportView(BaseModel):
    """A report: its figures, and the cases that failed with what was said in them."""

    model: str
    finished_at: datetime | None
    seconds: float
    short: list[str]
    notices: list[str]
    answered_by_others: dict[str, int]
    metrics: dict[str, Metric]
    retrieval: dict[str, Metric]
    suites: list[Suite]
    failing: list[Case]


class Evals(BaseModel):
    """The last report, null where there is none yet; `problem` says why one that is there can't be read. `command` makes one."""

    report: ReportView | None
    problem: str | None
    command: str = COMMAND


@router.get("")
async def last_report(state: StateDep, caller: AdminDep) -> Evals:
    """What `make eval` measured last: of the installation, over invented organisations. For admins."""
    return await asyncio.to_thread(_read, state.settings.evals_dir / REPORT)


def _read(file: Path) -> Evals:
    try:
        report = EvalReport.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return Evals(report=None, problem=None)
    except OSError as unreadable:
        log.warning("evaluation report unreadable", file=str(file), problem=str(unreadable))
        return Evals(report=None, problem=f"{REPORT} can't be opened: {unreadable.strerror}")
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or REPORT
        log.warning("evaluation report unreadable", file=str(file), field=where, problem=first["msg"])
        return Evals(report=None, problem=f"{REPORT} is no report of this version: {where}: {first['msg']}")
    return Evals(report=_view(report), problem=None)


def _view(report: EvalReport) -> ReportView:
    suites = dict.fromkeys(case.suite for case in report.cases)
    return ReportView(
        **report.model_dump(exclude={"cases"}),
        suites=[_suite(name, [case for case in report.cases if case.suite == name]) for name in suites],
        failing=[case for case in report.cases if case.passed is False],
    )


def _suite(name: str, cases: list[Case]) -> Suite:
    counted = [case.passed for case in cases]
    return Suite(suite=name, passed=counted.count(True), failing=counted.count(False), skipped=counted.count(None))
