"""`delegate`: the supervisor's switch_to_subagent calls become children; `route_entry` hands a message to an active one."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from langchain_core.messages import ToolMessage
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from domain.errors import InvalidToolArguments, ToolError
from domain.ids import ThreadId, is_uuid
from domain.tools import ToolFailure, ToolResult
from nodes.agent import specialists_of
from nodes.prompt import last_question, pending_calls
from nodes.runtime import RunContext, Services
from nodes.state import Delegation, State
from tools.arguments import validate
from tools.delegation import SWITCH, switch_tool

ORGANIZATION_SPECIALIST = "organization_specialist"
"""The node of every specialist that is an organisation's own; the operator's have nodes of their own."""
_CHILDREN = uuid.UUID("b4b1d2c6-2a53-5d0e-8f0a-6d3a1f9c7e21")


def child_id(thread_id: ThreadId, tool_call_id: str) -> ThreadId:
    """The child of a tool call: the same at every execution, so that a repeated node opens no second child."""
    return ThreadId(str(uuid.uuid5(_CHILDREN, f"{thread_id}:{tool_call_id}")))


def tool_message(call_id: str, name: str, result: ToolResult, artifact: dict[str, Any] | None = None) -> ToolMessage:
    """The one tool message of a call; a later one with the same id takes its place."""
    return ToolMessage(
        result.model_dump_json(exclude_none=True),
        id=f"tool:{call_id}",
        tool_call_id=call_id,
        name=name,
        status="success" if result.status == "success" else "error",
        artifact=artifact,
    )


def node_of(agent: str, named: Collection[str]) -> str:
    """The node a specialist works in."""
    return agent if agent in named else ORGANIZATION_SPECIALIST


def make(services: Services, named: Collection[str]) -> Any:
    """The node: one Send per accepted call; a refused call gets its error at once. `named` are the specialists with nodes of
    their own."""

    async def delegate(state: State, runtime: Runtime[RunContext]) -> Command[Any]:
        turn = state["turn"].copy()
        schema = switch_tool(specialists_of(services, runtime.context))["function"]["parameters"]
        accepted: list[Delegation] = []
        refusals = []
        for call in pending_calls(state["messages"]):
            if call["name"] != SWITCH:
                continue
            try:
                if turn["delegations"] >= services.limits.max_delegations:
                    turn["stop_reason"] = "max_delegations"
                    raise ToolError(
                        f"At most {services.limits.max_delegations} delegations a turn; answer with what you have.",
                        limit="max_delegations",
                    )
                accepted.append(await _accept(services, schema, state, runtime.context, call, accepted))
                turn["delegations"] += 1
                turn["tool_errors"] = 0
                turn["agents"] = [*turn["agents"], accepted[-1]["agent"]]
            except ToolError as refused:
                failure = ToolFailure(code=refused.code, message=refused.message, details=refused.details)
                result = ToolResult(status="error", content="", error=failure)
                refusals.append(tool_message(call["id"], SWITCH, result))
                turn["tool_errors"] += 1
        if turn["stop_reason"] is None and turn["tool_errors"] >= services.limits.max_tool_errors:
            turn["stop_reason"] = "max_tool_errors"
        # Asked together none can turn to the user: each reports to the supervisor.
        alone = len(accepted) == 1
        sends = [Send(node_of(one["agent"], named), {**one, "alone": alone}) for one in accepted]
        return Command(update={"messages": refusals, "turn": turn}, goto=sends or "provider_router")

    return delegate


async def _accept(
    services: Services,
    schema: dict[str, Any],
    state: State,
    run: RunContext,
    call: dict[str, Any],
    others: Sequence[Delegation],
) -> Delegation:
    arguments = validate(SWITCH, schema, call["args"])
    child, checkpoint_ns = child_id(run.thread_id, call["id"]), None
    if wanted := arguments.get("child_thread_id"):
        known = await _known(services, run, wanted)
        if known is None or known.agent != arguments["agent"]:
            raise InvalidToolArguments(
                f"child_thread_id: this conversation has no consultation '{wanted[:100]}' with {arguments['agent']}; "
                "leave it out to begin a new one.",
                fields=["child_thread_id"],
            )
        if any(other["child_thread_id"] == known.thread_id for other in others):
            raise InvalidToolArguments(
                "child_thread_id: this consultation is already asked in this step; put both questions into one task.",
                fields=["child_thread_id"],
            )
        child, checkpoint_ns = known.thread_id, known.checkpoint_ns
    return {
        "child_thread_id": child,
        "tool_call_id": call["id"],
        "agent": arguments["agent"],
        "task": arguments["task"],
        "context": arguments.get("context", ""),
        "direct": False,
        "alone": True,
        "checkpoint_ns": checkpoint_ns,
        "deadline": state["turn"]["deadline"],
        "local_only": bool(state.get("local_only")),
    }


async def _known(services: Services, run: RunContext, wanted: str) -> Any:
    if run.run_id is None or not is_uuid(wanted):
        return None
    return await services.children.get(run.organization_id, run.thread_id, ThreadId(wanted))


def to_active_child(state: State, named: Collection[str]) -> Send | None:
    """Where a child is active, the user's message goes to it; None where `main` takes it."""
    active = state.get("active_child")
    if active is None or state["turn"]["delegations"]:
        return None
    question = state["messages"][last_question(state["messages"])]
    delegation: Delegation = {
        "child_thread_id": active["child_thread_id"],
        "tool_call_id": active["tool_call_id"],
        "agent": active["agent"],
        "task": question.text,
        "context": "",
        "direct": True,
        "alone": True,
        "checkpoint_ns": active["checkpoint_ns"],
        "deadline": state["turn"]["deadline"],
        "local_only": bool(state.get("local_only")),
    }
    return Send(node_of(active["agent"], named), delegation)
