"""The report of an evaluation, as `make eval` leaves it: what of it is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    """Reads what it knows of a larger object."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Metric(_Part):
    """`share`: got / of, higher is better. `count`: got, none is best. Unknown is None; `en` and `ru` are over the cases of one
    language alone."""

    value: float | None
    got: int | None = None
    of: int | None = None
    kind: Literal["share", "count"] = "share"
    definition: str
    threshold: str | None
    en: float | None = None
    ru: float | None = None


class Problem(_Part):
    """What a case lacks, by which metric."""

    metric: str
    problem: str


class ToolUse(_Part):
    """A call that an agent made; `status` is None where nothing came back."""

    agent: str
    name: str
    status: str | None


class Exchange(_Part):
    """A question of a case, and what was answered."""

    user: str
    organization: str
    asked: str
    answer: str
    stop_reason: str | None
    models: tuple[str, ...]
    error: str | None
    calls: tuple[ToolUse, ...]


class Case(_Part):
    """A case as it went; `passed` is None where it was skipped."""

    id: str
    suite: str
    language: str
    passed: bool | None
    skipped: str | None = None
    problems: tuple[Problem, ...]
    exchanges: tuple[Exchange, ...]


class EvalReport(_Part):
    """The whole; `short` names the metrics that miss their threshold, `finished_at` is None in reports that don't tell."""

    model: str
    finished_at: datetime | None = None
    seconds: float
    short: tuple[str, ...]
    notices: tuple[str, ...]
    answered_by_others: dict[str, int]
    metrics: dict[str, Metric]
    retrieval: dict[str, Metric]
    cases: tuple[Case, ...]
