"""The record of one model call: what was considered, what was tried, what came of it. Stored with the run, shown by `explain`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from domain.ids import OrganizationId, RunId, ThreadId, TraceId, UserId
from domain.usage import UsageSource

Purpose = Literal["answer", "summary", "repair", "generate", "gateway", "embed"]
AttemptOutcome = Literal["answered", "failed", "skipped", "cancelled"]
"""`skipped`: it was not called (breaker open, no place, no quota); `error_code` says why."""
CallOutcome = Literal["answered", "failed", "cancelled", "refused"]
"""`refused`: by quota or policy, before any model was asked."""


class Attempt(BaseModel):
    """One try at one provider. Times are milliseconds of this process's clock; None is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    model: str
    number: int
    """Of this provider within the call, from 1."""
    outcome: AttemptOutcome
    error_code: str | None = None
    reason: str | None = None
    """The error's machine-readable reason: timeout, stalled, no_finish, ..."""
    message: str | None = None
    http_status: int | None = None
    retry_after_seconds: float | None = None
    breaker: str | None = None
    """The breaker's state when the attempt began: closed, half_open; open for a skipped one."""
    waited_ms: int | None = None
    """For a place at the provider."""
    first_token_ms: int | None = None
    latency_ms: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    usage_source: UsageSource | None = None
    finish_reason: str | None = None
    retracted_chars: int | None = None
    """Of text the reader had seen when it failed; None where nothing had to be taken back."""


class CallRecord(BaseModel):
    """A model call with all its attempts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call_id: str
    organization_id: OrganizationId
    user_id: UserId
    run_id: RunId | None
    thread_id: ThreadId | None
    trace_id: TraceId | None
    agent: str
    purpose: Purpose
    outcome: CallOutcome
    provider: str | None
    """That answered, with `model`; None where none did."""
    model: str | None
    error_code: str | None
    latency_ms: int
    policy: dict[str, Any]
    """What the choice was asked to respect."""
    candidates: list[dict[str, Any]]
    eliminations: list[dict[str, Any]]
    attempts: list[Attempt]
    quota: dict[str, Any] | None = None
    """Limits and use at the last reservation; None where nothing was reserved."""
