"""What agents do on the way to an answer, folded: tools called, work handed to specialists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from console.agents import Agents
from console.context import Context
from console.failure import failure_notice
from console.naming import tool_title
from console.prose import prose
from console.theme import box, text
from console.transcript import REPORT, Child, ToolCall, shown_result, text_of

_ICONS = {"succeeded": "check_circle", "completed": "check_circle", "failed": "error", "denied": "block"}
_COLOURS = {"succeeded": "var(--good)", "completed": "var(--good)", "failed": "var(--bad)", "denied": "var(--warn)"}
_SHORT = 90


def tool_step(context: Context, call: ToolCall, opened: dict[str, bool], *, at_work: bool = False) -> None:
    """A tool call; unfolded it shows its arguments and what came of them. `opened` remembers which are unfolded."""
    t = context.t
    with _fold(call.call_id, opened).mark("tool-call") as fold:
        with fold.add_slot("header"), box("step-head"):
            _status(call.status, at_work)
            text(tool_title(call.name, t), "name one-line")
            text(_short(call.arguments), "faint one-line grow only-wide")
            if call.duration_ms is not None:
                text(t("graph.ms", n=call.duration_ms), "faint small", "span").style("margin-left:auto;flex:none")
        _labelled(t("chat.arguments"), json.dumps(call.arguments, ensure_ascii=False, indent=2))
        if call.error:
            failure_notice(context, call.error)
        if call.result:
            _labelled(t("chat.result"), shown_result(call.result))


def child_step(
    context: Context, agents: Agents, child: Child, opened: dict[str, bool], *, at_work: bool = False
) -> None:
    """Work handed to a specialist; unfolded it shows the task, the specialist's own calls and their answer."""
    t, key = context.t, f"child:{child.call_id or child.thread_id or child.namespace}"
    with _fold(key, opened).classes("child").mark("child") as fold:
        with fold.add_slot("header"), box("step-head"):
            _status(child.status, at_work)
            text(agents.title(child.agent), "name")
            text(child.task, "faint one-line grow only-wide")
            status = "pending" if child.status == "waiting" and not at_work else child.status
            text(t(f"status.{status}") if status in _KNOWN else status, "chip", "span").style(
                "margin-left:auto;flex:none"
            )
        body = box("stack").style("gap:10px")
        with body:
            _child_body(context, child, opened)
        if child.thread_id and not child.calls and not child.text and child.status not in ("waiting", "active"):
            fold.on_value_change(lambda event: _load(context, child, body, opened) if event.value else None)
            if opened.get(key):
                ui.timer(0.01, lambda: _load(context, child, body, opened), once=True)


_KNOWN = frozenset({"waiting", "active", "pending", "completed", "failed"})


def _child_body(context: Context, child: Child, opened: dict[str, bool]) -> None:
    t = context.t
    if child.task:
        with box():
            text(t("chat.task"), "field-name")
            text(child.task, "anywhere")
    for call in child.calls:
        if call.name != REPORT:
            tool_step(context, call, opened)
    said = child.text or next((_report(call) for call in child.calls if call.name == REPORT), "")
    if said:
        with box():
            text(t("chat.report"), "field-name")
            prose(said.replace("[", "\\["), "small")
    if child.error:
        failure_notice(context, child.error)
    if child.thread_id:
        ui.link(t("chat.child_open"), f"/chat/{child.thread_id}").classes("small")


async def _load(context: Context, child: Child, body: ui.element, opened: dict[str, bool]) -> None:
    """Fetch what a specialist of an earlier turn did, once."""
    if child.calls or child.text:
        return
    with context.telling():
        told = await context.api.call("GET", f"/v1/threads/{child.thread_id}/tool_calls")
        for row in told["tool_calls"]:
            child.calls.append(_recorded(row))
        if not any(call.name == REPORT for call in child.calls):
            whole = await context.api.call("GET", f"/threads/{child.thread_id}")
            for message in ((whole.get("values") or {}).get("messages") or [])[-1:]:
                if message.get("type") == "ai":
                    child.texts[str(message.get("id"))] = text_of(message)
        body.clear()
        with body:
            _child_body(context, child, opened)


def _recorded(row: Mapping[str, Any]) -> ToolCall:
    result = row.get("result")
    shown = None if result is None else result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return ToolCall(
        str(row.get("tool_call_id")), str(row.get("agent")), str(row.get("name")), row.get("arguments"),
        str(row.get("status")), row.get("duration_ms"), (result or {}).get("error") if isinstance(result, Mapping) else None, shown,
    )  # fmt: skip


def _report(call: ToolCall) -> str:
    return str(call.arguments.get("summary") or "") if isinstance(call.arguments, Mapping) else ""


def _fold(key: str, opened: dict[str, bool]) -> ui.expansion:
    fold = ui.expansion(value=opened.get(key, False)).classes("step").props("dense")
    fold.on_value_change(lambda event: opened.__setitem__(key, bool(event.value)))
    return fold


def _status(status: str, at_work: bool) -> None:
    if status in _ICONS:
        ui.icon(_ICONS[status]).style(f"color:{_COLOURS[status]}")
    elif not at_work:
        # Nothing moves: it waits for a person, or was left where it stood.
        ui.icon("forum" if status == "active" else "pending").style("color:var(--ink-3)")
    else:
        ui.spinner(size="16px").style("color:var(--accent);flex:none")


def _labelled(label: str, content: str) -> None:
    with box():
        text(label, "field-name")
        text(content, "code", "pre").props("tabindex=0")


def _short(arguments: Any) -> str:
    if not isinstance(arguments, Mapping):
        return ""
    line = ", ".join(str(value) for value in arguments.values())
    return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"
