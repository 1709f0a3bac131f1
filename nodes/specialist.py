"""A specialist as a node of the supervisor: its graph runs in a conversation of its own and reports one ChildResult."""

from __future__ import annotations

import uuid
from typing import Any

import structlog
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.errors import GraphBubbleUp, GraphRecursionError
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from domain.errors import ApprovalRequired, ConsiliumError, QuotaExceeded, StaleFence
from domain.ids import ThreadId, ToolCallId
from domain.knowledge import Source
from domain.runs import ChildStatus
from nodes.places import Places
from nodes.runtime import RunContext, Services
from nodes.state import ChildResult, Delegation, Summary
from retrieval.cite import resolve

ChildGraph = CompiledStateGraph[Any, RunContext, Any, Any]
log = structlog.get_logger(__name__)


def make(services: Services, places: Places, child_graph: ChildGraph) -> Any:
    """The node. What goes wrong in it is its own: others asked in the same step go on.

    `child_graph` must be a free variable of it, which is how LangGraph finds the subgraph to draw and to read."""

    async def specialist(payload: Any, config: RunnableConfig, runtime: Runtime[RunContext]) -> dict[str, Any]:
        task: Delegation = payload  # Any: LangGraph would make a channel of every field of an annotated payload
        namespace = config["configurable"]["checkpoint_ns"]
        conversation = _Conversation(services, runtime.context, task, namespace)
        await conversation.open()
        try:
            earlier, summary = await _earlier(child_graph, config, task["checkpoint_ns"])
            async with places.of(runtime.context):
                final = await child_graph.ainvoke(
                    {"messages": [*earlier, _opening(task, namespace)], "delegation": task, "summary": summary},
                    context=runtime.context,
                )
            result = conversation.result(final)
        except (StaleFence, ApprovalRequired, GraphBubbleUp, GraphRecursionError):
            raise
        except QuotaExceeded as refused:
            if refused.waits:
                raise  # the whole run waits, and the child goes on with it
            result = conversation.failure(refused)
        except ConsiliumError as failed:
            log.warning("specialist failed", agent=task["agent"], error_code=failed.code, error=failed.message)
            result = conversation.failure(failed)
        except Exception:  # a fault of ours costs this specialist, not the turn; the trace is in the log
            log.exception("specialist crashed", agent=task["agent"])
            result = conversation.failure(ConsiliumError(f"{task['agent']} failed unexpectedly; answer without it."))
        await conversation.close(result)
        return {"children": [result]}

    return specialist


async def _earlier(
    child_graph: ChildGraph, config: RunnableConfig, namespace: str | None
) -> tuple[list[BaseMessage], Summary | None]:
    """A continued child's messages and what sums up the older of them, from its last turn's checkpoint."""
    if namespace is None:
        return [], None
    configurable = {key: value for key, value in config["configurable"].items() if not key.startswith("checkpoint_")}
    snapshot = await child_graph.aget_state({"configurable": {**configurable, "checkpoint_ns": namespace}})
    return list(snapshot.values.get("messages", [])), snapshot.values.get("summary")


def _opening(task: Delegation, namespace: str) -> HumanMessage:
    """The task as the child's message; its id is the same when the node is repeated, another for every turn."""
    text = f"{task['task']}\n\nContext: {task['context']}" if task["context"] else task["task"]
    return HumanMessage(text, id=str(uuid.uuid5(uuid.UUID(task["child_thread_id"]), namespace)))


class _Conversation:
    """The child's record and what its reader sees of it while it works."""

    def __init__(self, services: Services, run: RunContext, task: Delegation, namespace: str) -> None:
        self._services = services
        self._run = run
        self._task = task
        self._namespace = namespace
        self._emit = get_stream_writer()

    async def open(self) -> None:
        if self._run.run_id is not None:
            await self._services.children.open(
                self._run.organization_id,
                self._run.thread_id,
                ThreadId(self._task["child_thread_id"]),
                ToolCallId(self._task["tool_call_id"]),
                agent=self._task["agent"],
                task=self._task["task"],
                checkpoint_ns=self._namespace,
            )
        self._announce("waiting", None)

    async def close(self, result: ChildResult) -> None:
        status = result["status"]
        if self._run.run_id is not None:
            await self._services.children.set_status(
                self._run.organization_id, ThreadId(self._task["child_thread_id"]), status
            )
        self._announce(status, result["error"])

    def result(self, final: dict[str, Any]) -> ChildResult:
        """What the child's final state says: finished with a summary, speaking to the user, or cut by a limit."""
        sources = [Source.model_validate(source) for source in final["sources"]]
        finish = final.get("finish")
        last = final["messages"][-1]
        said = finish["summary"] if finish else last.text
        resolved = resolve(said, sources)
        cited = {citation.n for citation in resolved.citations}
        stop_reason = last.response_metadata.get("stop_reason") if isinstance(last, AIMessage) else None
        # Cut short it has asked the user nothing; in a talk with the user it goes on with the next message.
        cut = None if finish or self._task["direct"] else final["turn"]["stop_reason"]
        return self._outcome(
            "completed" if finish else "failed" if cut else "active" if self._may_ask() else "completed",
            text=resolved.text,
            citations=[citation.model_dump(mode="json") for citation in resolved.citations],
            sources=[source.model_dump(mode="json") for source in sources if source.n in cited],
            error={"code": cut, "message": "It was cut short; `content` is what it had."} if cut else None,
            stop_reason=final["turn"]["stop_reason"] or stop_reason,
            local_only=bool(final.get("local_only")),
        )

    def _may_ask(self) -> bool:
        """Asked together with others it has spoken to the supervisor, which can continue it by id."""
        return self._task["direct"] or self._task.get("alone", True)

    def failure(self, failed: ConsiliumError) -> ChildResult:
        return self._outcome("failed", error={"code": failed.code, "message": failed.message})

    def _outcome(
        self,
        status: ChildStatus,
        *,
        text: str = "",
        citations: list[dict[str, Any]] | None = None,
        sources: list[dict[str, Any]] | None = None,
        error: dict[str, Any] | None = None,
        stop_reason: str | None = None,
        local_only: bool = False,
    ) -> ChildResult:
        return {
            "child_thread_id": self._task["child_thread_id"],
            "tool_call_id": self._task["tool_call_id"],
            "agent": self._task["agent"],
            "status": status,
            "text": text,
            "citations": citations or [],
            "sources": sources or [],
            "error": error,
            "stop_reason": stop_reason,
            "direct": self._task["direct"],
            "task": self._task["task"],
            "checkpoint_ns": self._namespace,
            "local_only": local_only,
        }

    def _announce(self, status: str, error: dict[str, Any] | None) -> None:
        self._emit(
            {
                "type": "delegation",
                "agent": self._task["agent"],
                "child_thread_id": self._task["child_thread_id"],
                "tool_call_id": self._task["tool_call_id"],
                "namespace": self._namespace,
                "task": self._task["task"],
                "status": status,
                "error": error,
            }
        )
