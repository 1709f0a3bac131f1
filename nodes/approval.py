"""`approval`: tool calls that may not be made without a person wait here, at an interrupt, before any call of their step is made.

One interrupt for all calls of the step that wait. What was decided is kept in the state until `tools` has carried the calls out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.config import get_stream_writer
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from domain.approvals import DECISION_TYPES, ApprovalRequest, Decision, ReviewConfig
from domain.errors import ApprovalRequired, ToolError
from domain.ids import ThreadId, ToolCallId
from domain.skills import Skill
from nodes.agent import Agent
from nodes.prompt import pending_calls
from nodes.runtime import RunContext, Services
from nodes.state import State
from nodes.texts import text
from nodes.toolset import find_tool, needs_approval
from tools.arguments import validate
from tools.base import Tool
from tools.decisions import by_call
from tools.delegation import FINISH, SWITCH

MAX_DESCRIPTION = 500
"""Characters of a tool's own description that a person is shown."""
Waits = Callable[[State, Runtime[RunContext]], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call that waits, with its tool and its arguments as they would be executed."""

    call: dict[str, Any]
    tool: Tool
    arguments: dict[str, Any]


def due(services: Services, agent: Agent) -> Waits:
    """Whether the step that the model has just asked for waits for somebody. An agent without approvals pays nothing for it."""

    async def waits(state: State, runtime: Runtime[RunContext]) -> bool:
        skill = agent.skill(state, runtime.context)
        return bool(await _waiting(services, skill, state, runtime.context))

    return waits


def make(services: Services, agent: Agent) -> Any:
    """The node for one agent."""

    async def approval(state: State, runtime: Runtime[RunContext]) -> dict[str, Any]:
        run, delegation = runtime.context, state.get("delegation")
        skill = agent.skill(state, run)
        waiting = await _waiting(services, skill, state, run)
        thread_id = ThreadId(delegation["child_thread_id"]) if delegation else run.thread_id
        if not waiting:  # decided, but there is no such tool any more: `tools` tells the model
            await _adopt(services, run, thread_id, [call["id"] for call in pending_calls(state["messages"])])
            return {}
        if not run.outlived:
            raise _nobody_there(waiting)
        request = _request(skill, thread_id, waiting, state["turn"]["language"])
        try:
            answer = interrupt(request)
        except GraphInterrupt:
            await _tell(services, skill, run, thread_id, waiting)
            raise
        decisions: Mapping[str, Decision] = by_call(request, answer, "resume")
        await _adopt(services, run, thread_id, list(decisions))
        return {"decisions": dict(decisions)}

    return approval


async def _waiting(services: Services, skill: Skill, state: State, run: RunContext) -> list[Waiting]:
    """The calls that wait. One that would fail anyway does not: the model is told at once."""
    if skill.approvals == "none" or run.trial:  # a trial changes nothing, and asks nobody
        return []
    found = []
    for call in pending_calls(state["messages"]):
        if call["name"] in (SWITCH, FINISH):
            continue
        try:
            tool = await find_tool(services, run.organization_id, skill, call["name"])
            if needs_approval(skill, tool):
                found.append(Waiting(call, tool, validate(tool.name, tool.parameters, call["args"])))
        except ToolError:  # `tools` gives it to the model
            continue
    return found


def _request(skill: Skill, thread_id: ThreadId, waiting: list[Waiting], language: str) -> ApprovalRequest:
    reviews: dict[str, ReviewConfig] = {
        one.tool.name: {
            "action_name": one.tool.name,
            "allowed_decisions": list(DECISION_TYPES),
            "args_schema": one.tool.parameters,
        }
        for one in waiting
    }
    title = skill.title["ru" if language == "ru" else "en"]
    return {
        "action_requests": [
            {
                "name": one.tool.name,
                "args": one.arguments,
                "description": text("approval", language).format(
                    agent=title, tool=one.tool.name, what=one.tool.description[:MAX_DESCRIPTION]
                ),
                "tool_call_id": one.call["id"],
            }
            for one in waiting
        ],
        "review_configs": list(reviews.values()),
        "agent": skill.name,
        "thread_id": thread_id,
    }


async def _adopt(services: Services, run: RunContext, thread_id: ThreadId, call_ids: list[str]) -> None:
    if run.run_id is not None:
        await services.tool_calls.adopt(run.organization_id, run.run_id, thread_id, call_ids)


async def _tell(services: Services, skill: Skill, run: RunContext, thread_id: ThreadId, waiting: list[Waiting]) -> None:
    """Record the calls as pending, and say so."""
    emit = get_stream_writer()
    for one in waiting:
        if run.run_id is not None:
            await services.tool_calls.propose(
                run.organization_id,
                run.run_id,
                thread_id,
                ToolCallId(one.call["id"]),
                agent=skill.name,
                name=one.tool.name,
                arguments=one.arguments,
            )
        emit(
            {
                "type": "tool_call",
                "agent": skill.name,
                "tool_call_id": one.call["id"],
                "name": one.tool.name,
                "arguments": one.arguments,
                "status": "pending",
                "duration_ms": None,
                "error": None,
            }
        )


def _nobody_there(waiting: list[Waiting]) -> ApprovalRequired:
    names = ", ".join(dict.fromkeys(one.tool.name for one in waiting))
    return ApprovalRequired(
        f"{names} waits for a person's approval, which can't be given here: this conversation goes away with its answer. "
        "Nothing of it was done. Ask in a thread of your own (POST /threads) and answer its interrupt.",
        actions=[{"name": one.tool.name, "tool_call_id": one.call["id"]} for one in waiting],
    )
