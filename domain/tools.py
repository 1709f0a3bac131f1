"""What a tool call returns and what is kept of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from domain.ids import RunId, ThreadId, ToolCallId
from domain.runs import ToolCallStatus


class ToolFailure(BaseModel):
    """A typed failure the model can read: `code` is one of the ToolError codes."""

    model_config = ConfigDict(frozen=True)
    code: str
    message: str
    details: dict[str, Any] = {}


class ToolResult(BaseModel):
    """What a tool gives back. `error` is set exactly when status is 'error'; a failure never hides in `content`."""

    model_config = ConfigDict(frozen=True)
    status: Literal["success", "error"]
    content: str
    error: ToolFailure | None = None
    truncated: bool = False


class ToolCallRecord(BaseModel):
    """The record of one tool call of a run. Duration in milliseconds; None while it runs."""

    run_id: RunId
    thread_id: ThreadId
    tool_call_id: ToolCallId
    agent: str
    name: str
    status: ToolCallStatus
    arguments: dict[str, Any]
    result: ToolResult | None = None
    created_at: datetime
    duration_ms: int | None = None
