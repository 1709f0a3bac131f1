"""The supervisor's graph: answer, or hand over to specialists and answer from what they found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from langchain_core.messages import AIMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send

from domain.skills import MAIN
from graphs import specialist as specialist_graph
from graphs.edge import Edge
from nodes import (
    approval,
    collect,
    context,
    delegate,
    finish,
    model,
    provider_router,
    specialist,
    structure,
    summary,
    tools,
)
from nodes.agent import Agent
from nodes.delegate import ORGANIZATION_SPECIALIST
from nodes.places import Places
from nodes.prompt import pending_calls
from nodes.runtime import RunContext, Services
from nodes.state import Input, Output, State, View
from tools.delegation import SWITCH


async def after_tools(state: State, runtime: Runtime[RunContext]) -> Literal["delegate", "provider_router"]:
    """Delegations of the same step come after its tools."""
    return "delegate" if pending_calls(state["messages"]) else "provider_router"


async def after_collect(
    state: State, runtime: Runtime[RunContext]
) -> Literal["structure", "finish", "provider_router"]:
    """Where a child has spoken to the user the turn ends; summaries go to the supervisor's model."""
    if state.get("draft") is not None:
        return "structure"
    return "finish" if isinstance(state["messages"][-1], AIMessage) else "provider_router"


def build(
    services: Services,
    names: Sequence[str],
    checkpointer: BaseCheckpointSaver | None = None,
) -> CompiledStateGraph[State, RunContext, Input, Output]:
    """The compiled graph of the whole: `main` and its specialists as subgraphs.

    The operator's, `names`, have a node each; those that organisations add share one, and a turn's skills say who they are.
    """
    main, places = Agent(services, MAIN, delegates=True), Places(services)
    nodes = [*names, ORGANIZATION_SPECIALIST]
    waits = approval.due(services, main)

    async def after_context(state: State, runtime: Runtime[RunContext]) -> Send | Literal["provider_router"]:
        """An active child gets the user's message, otherwise main."""
        return delegate.to_active_child(state, names) or "provider_router"

    async def after_model(
        state: State, runtime: Runtime[RunContext]
    ) -> Literal["approval", "tools", "delegate", "structure", "finish"]:
        """Ordinary tools first, which may have to wait, then delegations; an answer ends the turn, once it is JSON where that was
        asked for."""
        if state.get("draft") is not None:
            return "structure"
        calls = pending_calls(state["messages"])
        if not calls:
            return "finish"
        if all(call["name"] == SWITCH for call in calls):
            return "delegate"
        return "approval" if await waits(state, runtime) else "tools"

    graph = StateGraph(State, context_schema=RunContext, input_schema=Input, output_schema=Output)
    graph.add_node("context", context.make(services, main), input_schema=View)
    graph.add_node("provider_router", provider_router.make(services, main))
    graph.add_node("summarise", summary.make(services, main))
    graph.add_node("model", model.make(services, main), input_schema=View)
    graph.add_node("approval", approval.make(services, main))
    graph.add_node("tools", tools.make(services, main))
    graph.add_node("delegate", delegate.make(services, names), destinations=(*nodes, "provider_router"))
    for name in nodes:
        child = specialist_graph.build(services, name, child=True, of_organization=name == ORGANIZATION_SPECIALIST)
        graph.add_node(name, specialist.make(services, places, child))
    graph.add_node("collect", collect.make())
    graph.add_node("structure", structure.make(services, main))
    graph.add_node("finish", finish.make(), input_schema=View)

    graph.add_edge(START, "context")
    graph.add_conditional_edges("context", Edge(after_context), ["provider_router", *nodes])
    graph.add_conditional_edges("provider_router", Edge(summary.due(services, main)), ["summarise", "model"])
    graph.add_edge("summarise", "model")
    graph.add_conditional_edges("model", Edge(after_model), ["approval", "tools", "delegate", "structure", "finish"])
    graph.add_edge("approval", "tools")
    graph.add_conditional_edges("tools", Edge(after_tools), ["delegate", "provider_router"])
    for name in nodes:
        graph.add_edge(name, "collect")
    graph.add_conditional_edges("collect", Edge(after_collect), ["structure", "finish", "provider_router"])
    graph.add_edge("structure", "finish")
    graph.add_edge("finish", END)
    return graph.compile(checkpointer=checkpointer, name="supervisor")
