"""The trace id of what is being done: set at the door, carried into runs, logged and returned everywhere."""

from __future__ import annotations

from contextvars import ContextVar

from domain.ids import TraceId, new_trace_id

_current: ContextVar[TraceId | None] = ContextVar("trace_id", default=None)


def set_trace_id(trace_id: TraceId) -> None:
    """From here on, in this task and those it starts."""
    _current.set(trace_id)


def current_trace_id() -> TraceId:
    """The trace id in force; a fresh one, from then on in force, where nothing set it."""
    trace_id = _current.get()
    if trace_id is None:
        trace_id = new_trace_id()
        _current.set(trace_id)
    return trace_id
