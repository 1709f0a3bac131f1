"""A specialist's graph: the one builder of marketing_agent, legal_agent, business_analyst_agent and any skill to come."""

from __future__ import annotations

from typing import Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from graphs.edge import Edge
from nodes import approval, context, finish, model, provider_router, structure, summary, tools
from nodes.agent import Agent
from nodes.prompt import pending_calls
from nodes.runtime import RunContext, Services
from nodes.state import ChildInput, Input, Output, State, View


async def after_tools(state: State, runtime: Runtime[RunContext]) -> Literal["provider_router", "finish"]:
    """finish_subagent ends the task; any other result goes back to the model."""
    return "finish" if state.get("finish") else "provider_router"


def build(
    services: Services,
    name: str,
    checkpointer: BaseCheckpointSaver | None = None,
    *,
    child: bool = False,
    of_organization: bool = False,
) -> CompiledStateGraph[Any, RunContext, Any, Any]:
    """The compiled graph of the specialist of that name; `of_organization`: of any, whom the delegation or the run names.

    As a child it takes a delegation and gives its whole state to the node that called it; it has no checkpointer of its own and
    inherits its parent's.
    """
    agent = Agent(services, None if of_organization else name)
    waits = approval.due(services, agent)

    async def after_model(
        state: State, runtime: Runtime[RunContext]
    ) -> Literal["approval", "tools", "structure", "finish"]:
        """An answer ends the turn, once it is JSON where that was asked for; tool calls are executed first, or wait."""
        if state.get("draft") is not None:
            return "structure"
        if not pending_calls(state["messages"]):
            return "finish"
        return "approval" if await waits(state, runtime) else "tools"

    graph = StateGraph(
        State,
        context_schema=RunContext,
        input_schema=ChildInput if child else Input,
        output_schema=State if child else Output,
    )
    graph.add_node("context", context.make(services, agent), input_schema=View)
    graph.add_node("provider_router", provider_router.make(services, agent))
    graph.add_node("summarise", summary.make(services, agent))
    graph.add_node("model", model.make(services, agent), input_schema=View)
    graph.add_node("approval", approval.make(services, agent))
    graph.add_node("tools", tools.make(services, agent))
    graph.add_node("structure", structure.make(services, agent))
    graph.add_node("finish", finish.make(), input_schema=View)

    graph.add_edge(START, "context")
    graph.add_edge("context", "provider_router")
    graph.add_conditional_edges("provider_router", Edge(summary.due(services, agent)), ["summarise", "model"])
    graph.add_edge("summarise", "model")
    graph.add_conditional_edges("model", Edge(after_model), ["approval", "tools", "structure", "finish"])
    graph.add_edge("approval", "tools")
    graph.add_conditional_edges("tools", Edge(after_tools), ["provider_router", "finish"])
    graph.add_edge("structure", "finish")
    graph.add_edge("finish", END)
    return graph.compile(checkpointer=checkpointer, name=name)
