"""A run on its way into the queue: what is submitted, what is accepted, and the lease on it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from domain.approvals import Answer
from domain.ids import AssistantId, OrganizationId, RunId, ThreadId, TraceId, UserId
from domain.runs import MultitaskStrategy, Run


@dataclass(frozen=True, slots=True)
class Submission:
    """A run to accept. `create_thread` makes the thread with it; `idempotency_key` makes repeats of the request one run."""

    run_id: RunId
    thread_id: ThreadId
    organization_id: OrganizationId
    user_id: UserId
    see_all_threads: bool
    """Whether the caller may run on threads of other users of the organisation."""
    assistant_id: AssistantId
    graph_id: str
    trace_id: TraceId
    kwargs: dict[str, Any]
    metadata: dict[str, Any]
    multitask_strategy: MultitaskStrategy
    create_thread: bool
    thread_metadata: dict[str, Any]
    idempotency_key: str | None
    fingerprint: str
    answers: tuple[Answer, ...] = ()
    """What of the thread's interrupts the run goes on with; recorded with it."""

    def run(self, *, accepted_at: datetime, skills_generation: int) -> Run:
        """The run as it is stored once it is accepted."""
        return Run(
            run_id=self.run_id,
            thread_id=self.thread_id,
            organization_id=self.organization_id,
            user_id=self.user_id,
            assistant_id=self.assistant_id,
            graph_id=self.graph_id,
            status="pending",
            created_at=accepted_at,
            updated_at=accepted_at,
            trace_id=self.trace_id,
            # as it will be read back
            kwargs=orjson.loads(orjson.dumps(self.kwargs)),
            metadata=orjson.loads(orjson.dumps(self.metadata)),
            multitask_strategy=self.multitask_strategy,
            skills_generation=skills_generation,
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on a run."""

    run_id: RunId
    organization_id: OrganizationId
    fence: int
    attempt: int
    job_id: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """`run` is the accepted run, or the one an earlier request with the same key made; `claim` what this replica now holds."""

    run: Run
    claim: Claim | None
    last_seq: int
    """Of the thread's log when the run was accepted."""
    new_thread: bool = False
    """Whether the thread came into being with the run."""
    interrupted: bool = False
    """Whether the thread's last run ended at an interrupt."""


def fingerprint(body: dict[str, Any]) -> str:
    """What an idempotency key is tied to: the canonical form of the request."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
