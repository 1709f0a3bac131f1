"""The life of a thread, a run, a child conversation and a tool call: closed sets of states."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from domain.ids import AssistantId, OrganizationId, RunId, ThreadId, TraceId, UserId

RunStatus = Literal["pending", "running", "success", "error", "timeout", "interrupted"]
"""The LangGraph API's words. A cancelled run is `interrupted`."""
TERMINAL: frozenset[RunStatus] = frozenset({"success", "error", "timeout", "interrupted"})
ThreadStatus = Literal["idle", "busy", "interrupted", "error"]
ChildStatus = Literal["active", "waiting", "completed", "failed"]
"""A child conversation: `active` gets the user's next message, `waiting` is being worked in, the rest are over."""
ToolCallStatus = Literal["pending", "running", "succeeded", "failed", "denied"]
MultitaskStrategy = Literal["reject", "enqueue", "interrupt", "rollback"]
DisconnectMode = Literal["continue", "cancel"]
StopReason = Literal[
    "completed",
    "max_tool_steps",
    "max_tool_errors",
    "max_delegations",
    "max_depth",
    "deadline",
    "cancelled",
    "quota_exceeded",
    "provider_failure",
    "not_found",
]
"""Why a turn ended, in the final message's `response_metadata.stop_reason`."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation. A child has `parent_thread_id`; its checkpoints live under `root_thread_id` in `checkpoint_ns`."""

    thread_id: ThreadId
    organization_id: OrganizationId
    user_id: UserId
    created_at: datetime
    updated_at: datetime
    status: ThreadStatus
    metadata: dict[str, Any]
    parent_thread_id: ThreadId | None = None
    parent_tool_call_id: str | None = None
    root_thread_id: ThreadId | None = None
    agent: str | None = None
    child_status: ChildStatus | None = None
    checkpoint_ns: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of an assistant on a thread. `fence` grows with every claim; a write with an older one is refused."""

    run_id: RunId
    thread_id: ThreadId
    organization_id: OrganizationId
    user_id: UserId
    assistant_id: AssistantId
    graph_id: str
    status: RunStatus
    created_at: datetime
    updated_at: datetime
    trace_id: TraceId
    kwargs: dict[str, Any]
    metadata: dict[str, Any]
    multitask_strategy: MultitaskStrategy
    attempt: int = 0
    fence: int = 0
    cancel_requested: bool = False
    error: dict[str, Any] | None = None
    job_id: int | None = None
    waited_seconds: float = 0.0
    """That it has waited for tokens; they don't count as its turn's."""
    skills_generation: int = 0
    """Of the organisation's skills when the run was accepted; it works by these or by later ones."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a thread's log. `seq` is gapless per thread from 1; `ns` is the LangGraph namespace, () for the root graph."""

    seq: int
    run_id: RunId
    method: str
    ns: tuple[str, ...]
    data: Any
    terminal: bool = field(default=False)
