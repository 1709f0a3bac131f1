"""`model`: call the chosen model, or the next in line where it fails."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.runtime import Runtime

from domain.ids import ThreadId
from domain.knowledge import Source
from domain.skills import Skill
from nodes.agent import Agent
from nodes.call import Call, RoutedModel
from nodes.prompt import parts
from nodes.provider_router import chosen_route
from nodes.runtime import RunContext, Services
from nodes.state import State, changed
from nodes.structure import json_output, late
from nodes.texts import text
from nodes.toolset import usable_tools
from tools.delegation import finish_tool, switch_tool
from tools.registry import as_function


def make(services: Services, agent: Agent) -> Any:
    """The node for one agent."""

    async def model(state: State, runtime: Runtime[RunContext]) -> dict[str, Any]:
        turn = state["turn"]
        skill, specialists = agent.skill(state, runtime.context), agent.specialists(runtime.context)
        remaining = turn["deadline"] + runtime.context.waited_seconds - time.time()
        output = json_output(services, state, runtime.context)
        if remaining <= 0 and output is not None:
            raise late()
        if remaining <= 0:
            return {"messages": [_out_of_time(turn["language"])], "turn": {**turn, "stop_reason": "deadline"}}
        routed = RoutedModel(call=await call_of(services, skill, specialists, state, runtime.context, remaining))
        routed.call.parts = parts(state, skill, runtime.context.organization_name)
        prompt = await routed.call.fit()
        try:
            async with asyncio.timeout(remaining):
                answer = await _ask(routed, prompt)
        except TimeoutError:
            if output is not None:
                raise late() from None
            return {"messages": [_out_of_time(turn["language"])], "turn": {**turn, "stop_reason": "deadline"}}
        answer.name = skill.name
        if (by := routed.call.answered) is not None:
            answer.response_metadata |= {"provider": by.provider, "model": by.model}
        _make_ids_unique(answer, state["messages"])
        if output is not None and not answer.tool_calls:
            return {"draft": answer}
        stripped = turn["stripped"] + routed.call.stripped
        return {"messages": [answer], **changed(state, turn={**turn, "stripped": stripped})}

    return model


async def _ask(routed: RoutedModel, prompt: list[BaseMessage]) -> AIMessage:
    whole = None
    async for chunk in routed.astream(prompt):
        # another id: what the one before had said was retracted
        whole = chunk if whole is None or (chunk.id and chunk.id != whole.id) else whole + chunk
    assert whole is not None, "a validated stream has a terminal chunk"
    return AIMessage(
        content=whole.text,
        id=whole.id,
        tool_calls=whole.tool_calls,
        usage_metadata=whole.usage_metadata,
        additional_kwargs=whole.additional_kwargs,
        response_metadata=whole.response_metadata,
    )


def _make_ids_unique(answer: AIMessage, earlier: Sequence[BaseMessage]) -> None:
    """Some servers number their calls anew in every answer; an id names one call of a conversation and its one result."""
    if not answer.tool_calls:
        return
    known = {call["id"] for message in earlier if isinstance(message, AIMessage) for call in message.tool_calls}
    for n, call in enumerate(answer.tool_calls):
        if call["id"] in known:
            call["id"] = f"{call['id']}-{uuid.uuid5(uuid.NAMESPACE_OID, f'{answer.id}:{n}').hex[:12]}"


async def call_of(
    services: Services, skill: Skill, specialists: Sequence[Skill], state: State, run: RunContext, seconds: float
) -> Call:
    """The call of the turn in progress, without its prompt."""
    delegation = state.get("delegation")
    return Call(
        services=services,
        run=run,
        agent=skill.name,
        thread_id=ThreadId(delegation["child_thread_id"]) if delegation else run.thread_id,
        route=await chosen_route(services, skill, state, run),
        tools=await _tools(services, skill, specialists, state, run),
        sources=[Source.model_validate(source) for source in state["sources"]],
        seconds=seconds,
        output=json_output(services, state, run),
    )


async def _tools(
    services: Services, skill: Skill, specialists: Sequence[Skill], state: State, run: RunContext
) -> list[dict[str, Any]]:
    """What the model may call now: nothing in `answer` mode or once a limit is reached."""
    if run.mode == "answer" or state["turn"]["stop_reason"] is not None:
        return []
    functions = [as_function(tool) for tool in await usable_tools(services, run.organization_id, skill)]
    if specialists and run.orchestration == "graph" and services.limits.max_delegations and services.limits.max_depth:
        functions.append(switch_tool(specialists))
    if state.get("delegation") is not None:
        functions.append(finish_tool())
    return functions


def _out_of_time(language: str) -> AIMessage:
    return AIMessage(text("deadline", language), response_metadata={"stop_reason": "deadline"})
