"""JSON of messages, state values and snapshots, as the LangGraph API shows them.

Live objects and what was read back from the log give the same bytes: keys are sorted (jsonb doesn't keep their order) and
text is cleaned of what jsonb can't hold. A checkpoint's thread id carries the organisation; no answer does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import orjson
from langgraph.types import Interrupt, PregelTask, Send, StateSnapshot
from pydantic import BaseModel

from domain.errors import ConsiliumError
from domain.ids import OrganizationId, ThreadId
from domain.runs import Run, Thread
from domain.text import clean
from storage.saver import checkpoint_thread

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
_FAULT = "an internal error occurred"


def dumps(value: Any) -> bytes:
    """JSON of plain values, LangChain messages, interrupts, errors, dataclasses and pydantic models.

    Raises TypeError for anything else.
    """
    try:
        dumped = orjson.dumps(value, default=_default, option=_OPTIONS)
    except orjson.JSONEncodeError:
        return orjson.dumps(plain(value), option=_OPTIONS)
    return orjson.dumps(plain(value), option=_OPTIONS) if b"\\u0000" in dumped else dumped


def jsonable(value: Any) -> Any:
    """`value` as it is to be stored in jsonb: `dumps(jsonable(value)) == dumps(value)`. Raises TypeError as `dumps` does."""
    return orjson.loads(dumps(value))


def plain(value: Any) -> Any:
    """`value` as dicts, lists and scalars, its text cleaned."""
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {clean(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
        return [plain(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return plain(_default(value))


def _default(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Interrupt):
        return interrupt_json(value)
    if isinstance(value, Send):
        return {"node": value.node, "args": value.arg}
    if isinstance(value, BaseException):
        return error_json(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if hasattr(value, "_asdict"):
        return value._asdict()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def interrupt_json(interrupt: Interrupt | Mapping[str, Any]) -> dict[str, Any]:
    """`{id, value}` and, where the graph gave one, `response_schema`."""
    if isinstance(interrupt, Mapping):
        return dict(interrupt)
    shown = {"id": interrupt.id, "value": interrupt.value}
    return shown if interrupt.response_schema is None else {**shown, "response_schema": interrupt.response_schema}


def error_json(error: BaseException) -> dict[str, Any]:
    """`{error, message}`: ours say what happened, a fault of ours only that it did."""
    if isinstance(error, ConsiliumError):
        return {"error": error.code, "message": error.message}
    return {"error": type(error).__name__, "message": _FAULT}


def only(values: Any, keys: frozenset[str]) -> dict[str, Any]:
    """The values a graph shows: those of its output schema. {} for a state that has none yet."""
    if not isinstance(values, Mapping):
        return {}
    return {key: value for key, value in values.items() if key in keys or key == "__interrupt__"}


def thread_json(
    thread: Thread, *, values: dict[str, Any] | None, interrupts: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A thread as the API shows it. `values` is None where they weren't read."""
    return {
        "thread_id": thread.thread_id,
        "created_at": thread.created_at,
        "updated_at": thread.updated_at,
        "state_updated_at": thread.updated_at,
        "metadata": thread.metadata,
        "status": thread.status,
        "config": {},
        "values": values,
        "interrupts": interrupts or {},
        "user_id": thread.user_id,
        "parent_thread_id": thread.parent_thread_id,
        "parent_tool_call_id": thread.parent_tool_call_id,
        "agent": thread.agent,
        "child_status": thread.child_status,
    }


def run_json(run: Run) -> dict[str, Any]:
    """A run as the API shows it."""
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "status": run.status,
        "metadata": run.metadata,
        "kwargs": run.kwargs,
        "multitask_strategy": run.multitask_strategy,
        "trace_id": run.trace_id,
        "error": run.error,
    }


class SnapshotRenderer:
    """Snapshots of one thread. A child's state lies under its root in a namespace; it is shown as a thread of its own."""

    def __init__(self, thread: Thread, keys: frozenset[str]) -> None:
        self._thread_id = thread.thread_id
        self._base = thread.checkpoint_ns or ""
        self._keys = keys
        self._hide = Hidden(thread.organization_id, thread.root_thread_id or thread.thread_id, thread.thread_id)

    def state(self, snapshot: StateSnapshot) -> dict[str, Any]:
        """A snapshot as a `ThreadState`; still to be passed through `dumps`, then `Hidden.strip`."""
        checkpoint, parent = self._checkpoint(snapshot.config), self._checkpoint(snapshot.parent_config)
        return {
            "values": only(snapshot.values, self._keys),
            "next": list(snapshot.next),
            "tasks": [self._task(task) for task in snapshot.tasks],
            "metadata": snapshot.metadata or {},
            "created_at": snapshot.created_at,
            "checkpoint": checkpoint,
            "parent_checkpoint": parent,
            "interrupts": [interrupt_json(interrupt) for interrupt in snapshot.interrupts],
            "checkpoint_id": checkpoint["checkpoint_id"] if checkpoint else None,
            "parent_checkpoint_id": parent["checkpoint_id"] if parent else None,
        }

    def dumps(self, snapshots: StateSnapshot | list[StateSnapshot]) -> bytes:
        """JSON of one `ThreadState` or a list of them."""
        if isinstance(snapshots, list):
            return self._hide.strip(dumps([self.state(snapshot) for snapshot in snapshots]))
        return self._hide.strip(dumps(self.state(snapshots)))

    def checkpoint(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The checkpoint a config points at: `{thread_id, checkpoint_ns, checkpoint_id}`; None where it points at none."""
        return self._checkpoint(config)

    def _checkpoint(self, config: Mapping[str, Any] | None) -> dict[str, Any] | None:
        configurable = (config or {}).get("configurable") or {}
        if not configurable.get("checkpoint_id"):
            return None
        checkpoint = {
            "thread_id": self._thread_id,
            "checkpoint_ns": self._relative(configurable.get("checkpoint_ns") or ""),
            "checkpoint_id": configurable["checkpoint_id"],
        }
        if configurable.get("checkpoint_map"):
            checkpoint["checkpoint_map"] = configurable["checkpoint_map"]
        return checkpoint

    def _relative(self, ns: str) -> str:
        if self._base and (ns == self._base or ns.startswith(f"{self._base}|")):
            return ns[len(self._base) + 1 :]
        return ns

    def _task(self, task: PregelTask) -> dict[str, Any]:
        nested = task.state
        inner = nested.get("configurable") if isinstance(nested, Mapping) else None
        return {
            "id": task.id,
            "name": task.name,
            "path": list(task.path),
            "error": error_json(task.error) if isinstance(task.error, BaseException) else task.error,
            "interrupts": [interrupt_json(interrupt) for interrupt in task.interrupts],
            "checkpoint": self._task_checkpoint(inner) if inner else None,
            "state": self.state(nested) if isinstance(nested, StateSnapshot) else None,
            "result": only(task.result, self._keys) if isinstance(task.result, Mapping) else None,
        }

    def _task_checkpoint(self, configurable: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "thread_id": self._thread_id,
            "checkpoint_ns": self._relative(configurable.get("checkpoint_ns") or ""),
        }


class Hidden:
    """The saver's id of a thread, which LangGraph copies into metadata, replaced by the public one."""

    def __init__(self, organization_id: OrganizationId, root: ThreadId, shown: ThreadId) -> None:
        self._saved = orjson.dumps(checkpoint_thread(organization_id, root))
        self._shown = orjson.dumps(shown)

    def strip(self, rendered: bytes) -> bytes:
        return rendered.replace(self._saved, self._shown)
