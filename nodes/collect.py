"""`collect`: the children of one step have reported. Each call gets its one tool message, in the order of the calls, and what
the children cite joins the parent's sources under the parent's numbers."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.runtime import Runtime

from domain.knowledge import Source, SourceCitation
from domain.tools import ToolFailure, ToolResult
from nodes.delegate import tool_message
from nodes.prompt import CHILD_KEY, last_question
from nodes.runtime import RunContext
from nodes.state import ActiveChild, ChildResult, State
from retrieval.cite import renumber
from tools.delegation import SWITCH


def make() -> Any:
    """The node."""

    async def collect(state: State, runtime: Runtime[RunContext]) -> dict[str, Any]:
        results = _in_order(state)
        parent = [Source.model_validate(source) for source in state["sources"]]
        own = {source["n"]: source.get("in_context", True) for source in state["sources"]}
        alone = len(results) == 1
        messages: list[BaseMessage] = []
        active: ActiveChild | None = None
        for result in results:
            renumbered = renumber(
                result["text"],
                [SourceCitation.model_validate(citation) for citation in result["citations"]],
                [Source.model_validate(source) for source in result["sources"]],
                parent,
            )
            text, parent = renumbered.text, renumbered.sources
            speaks = alone and result["status"] == "active"
            messages.append(_answer_to_call(result, text, speaks=speaks))
            if speaks:
                active = _active(result)
            if alone and result["direct"]:
                messages.extend(_reply(state, result, text))
            elif speaks:
                messages.append(_said(result, text, tagged=True))
        draft = messages.pop() if runtime.context.mode == "json" and isinstance(messages[-1], AIMessage) else None
        return {
            "messages": messages,
            "draft": draft,
            "sources": [{**source.model_dump(mode="json"), "in_context": own.get(source.n, True)} for source in parent],
            "children": None,
            "active_child": active,
            **({"local_only": True} if any(result["local_only"] for result in results) else {}),
        }

    return collect


def _in_order(state: State) -> list[ChildResult]:
    """By the order of the supervisor's calls, which does not depend on who finished first."""
    calls = [call["id"] for m in state["messages"] if isinstance(m, AIMessage) for call in m.tool_calls]
    return sorted(state["children"], key=lambda result: calls.index(result["tool_call_id"]))


def _answer_to_call(result: ChildResult, text: str, *, speaks: bool) -> BaseMessage:
    artifact = {CHILD_KEY: result["child_thread_id"], "agent": result["agent"], "task": result["task"]}
    if result["error"] is not None:
        failure = ToolFailure(code=result["error"]["code"], message=result["error"]["message"])
        return tool_message(
            result["tool_call_id"], SWITCH, ToolResult(status="error", content=text, error=failure), artifact
        )
    content = f"{result['agent']} is now talking with the user." if speaks else text
    return tool_message(result["tool_call_id"], SWITCH, ToolResult(status="success", content=content), artifact)


def _reply(state: State, result: ChildResult, text: str) -> list[BaseMessage]:
    """The user spoke to the child and it answers: while it goes on, the supervisor's model is shown neither."""
    if result["status"] != "active":
        said = text or (result["error"] or {}).get("message", "")
        return [_said(result, said, tagged=False)]
    question = state["messages"][last_question(state["messages"])]
    tagged = question.model_copy(
        update={"additional_kwargs": {**question.additional_kwargs, CHILD_KEY: result["child_thread_id"]}}
    )
    return [tagged, _said(result, text, tagged=True)]


def _said(result: ChildResult, text: str, *, tagged: bool) -> AIMessage:
    return AIMessage(
        text,
        id=f"said:{result['checkpoint_ns']}",
        name=result["agent"],
        additional_kwargs={CHILD_KEY: result["child_thread_id"]} if tagged else {},
        response_metadata={"stop_reason": result["stop_reason"] or "completed"},
    )


def _active(result: ChildResult) -> ActiveChild:
    return {
        "child_thread_id": result["child_thread_id"],
        "tool_call_id": result["tool_call_id"],
        "agent": result["agent"],
        "checkpoint_ns": result["checkpoint_ns"],
    }
