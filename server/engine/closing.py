"""Tool calls that nobody will carry out any more: each gets its one tool message, so that the conversation can go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig

from domain.errors import EffectUnknown, ToolDenied
from domain.runs import Run
from domain.tools import ToolFailure, ToolResult
from graphs.build import Graphs
from nodes.prompt import pending_calls
from nodes.texts import language_of, text
from storage.children import Children
from storage.saver import checkpoint_thread
from storage.tool_calls import ToolCalls
from storage.tool_effects import ToolEffects

log = structlog.get_logger(__name__)
CANCELLED = "cancelled"
Reason = Callable[[str, str], ToolFailure]
"""From a call's id and the language to why it is not carried out."""
Closed = tuple[tuple[str, ...], list[ToolMessage]]
"""The tool messages of one conversation, by the namespace of its events."""


class OpenCalls:
    """Closes the open calls of a thread and of the children that are being worked in. All of it raises StaleFence."""

    def __init__(self, graphs: Graphs, children: Children, tool_calls: ToolCalls, effects: ToolEffects) -> None:
        self._graphs = graphs
        self._children = children
        self._tool_calls = tool_calls
        self._effects = effects

    async def cancelled(self, run: Run) -> list[Closed]:
        """The run has ended before its calls did; of some it may not be known whether they were carried out. Returns what was closed."""
        unknown = await self._effects.unknown(run.organization_id, run.run_id)

        def reason(call_id: str, language: str) -> ToolFailure:
            if call_id in unknown:
                return ToolFailure(code=EffectUnknown.code, message=text("cancelled_effect", language))
            return ToolFailure(code=CANCELLED, message=text("cancelled", language))

        return await self._close(run, reason)

    async def undecided(self, run: Run) -> list[Closed]:
        """The user went on without deciding about the calls that wait. Returns what was closed."""

        def reason(call_id: str, language: str) -> ToolFailure:
            return ToolFailure(code=ToolDenied.code, message=text("not_decided", language))

        closed = await self._close(run, reason)
        await self._children.fail_waiting(run.organization_id, run.thread_id)
        result = ToolResult(status="error", content="", error=reason("", "en"))
        await self._tool_calls.abandon_waiting(run.organization_id, run.run_id, run.thread_id, result)
        return closed

    async def _close(self, run: Run, reason: Reason) -> list[Closed]:
        graph = self._graphs[run.graph_id]
        closed: list[Closed] = []
        for namespace in ["", *await self._children.waiting(run.organization_id, run.thread_id)]:
            config: RunnableConfig = {
                "configurable": {
                    "thread_id": checkpoint_thread(run.organization_id, run.thread_id),
                    "checkpoint_ns": namespace,
                }
            }
            try:
                snapshot = await graph.aget_state(config)
                messages = snapshot.values.get("messages", [])
                if calls := pending_calls(messages):
                    language = language_of(messages[0].text)
                    closing = [_closed(call, reason(call["id"], language)) for call in calls]
                    await graph.aupdate_state(config, {"messages": closing}, as_node="finish")
                    closed.append((tuple(namespace.split("|")) if namespace else (), closing))
            except ValueError as unreadable:
                log.warning("no state to close", run_id=run.run_id, namespace=namespace, error=str(unreadable))
        return closed


def _closed(call: dict[str, Any], failure: ToolFailure) -> ToolMessage:
    return ToolMessage(
        ToolResult(status="error", content="", error=failure).model_dump_json(exclude_none=True),
        id=f"tool:{call['id']}",
        tool_call_id=call["id"],
        name=call["name"],
        status="error",
    )
