"""Our own small resources: tools, providers, a conversation's children and tool calls."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter, Response
from langchain_core.runnables import RunnableConfig

from domain.errors import Conflict, NotFound
from graphs.build import SUPERVISOR
from server.deps import CallerDep, StateDep
from server.render.serialize import dumps, thread_json
from storage.saver import acting_for, checkpoint_thread
from tools.registry import describe

router = APIRouter(prefix="/v1", tags=["consilium"])


def _json(value: Any) -> Response:
    return Response(dumps(value), media_type="application/json")


@router.get("/tools")
async def tools(state: StateDep, caller: CallerDep) -> Response:
    """The tools of the caller's agents with their JSON Schemas, and why one is unavailable. `server` is the MCP server a tool is of,
    null for our own; `mcp_servers` tells how each of these does."""
    skills = (await state.skills.read(caller.organization_id)).in_force
    allowed = {name: skill.tools for name, skill in skills.items()}
    rows = [{**row, "server": None} for row in state.services.tools.describe(allowed)]
    found = await state.services.mcp.all_tools(caller.organization_id, skills)
    rows += [{**describe(tool, agents), "server": tool.server.name} for tool, agents in found]
    servers = [
        {"name": one.server.name, "state": one.state, "reason": one.reason.model_dump() if one.reason else None}
        for one in await state.services.mcp.overviews(caller.organization_id)
    ]
    return _json({"tools": rows, "mcp_servers": servers})


@router.get("/agents")
async def agents(state: StateDep, caller: CallerDep) -> Response:
    """The agents: what people call them, when the supervisor hands over, what they may use."""
    skills = (await state.skills.read(caller.organization_id)).in_force
    shown = [skill.model_dump(mode="json", exclude={"prompt"}) for skill in skills.values()]
    return _json({"agents": shown})


@router.get("/providers")
async def providers(state: StateDep, caller: CallerDep) -> Response:
    """The capability matrix of the configured providers, and how they do: the state of each one's breaker, which all replicas
    share, and the median time to each model's first token as this replica measured it. What isn't known is null."""
    caller_of, rows = state.services.caller, state.services.providers.matrix()
    for row in rows:
        row["breaker"] = dataclasses.asdict(caller_of.breakers.view(row["provider"]))
        for model in row["models"]:
            model["first_token_ms"] = caller_of.latencies.first_token_p50(row["provider"], model["name"])
    return _json({"providers": rows})


@router.get("/threads/{thread_id}/children")
async def children(state: StateDep, caller: CallerDep, thread_id: str) -> Response:
    """The child conversations of a thread, oldest first; each is readable as a thread."""
    thread = await state.threads.get(caller, thread_id)
    found = await state.threads.children(caller.organization_id, thread.thread_id)
    return _json({"children": [thread_json(child, values=None) for child in found]})


@router.get("/threads/{thread_id}/tool_calls")
async def tool_calls(state: StateDep, caller: CallerDep, thread_id: str) -> Response:
    """The records of a conversation's tool calls, oldest first."""
    thread = await state.threads.get(caller, thread_id)
    records = await state.tool_calls.of_thread(caller.organization_id, thread.thread_id)
    return _json({"tool_calls": [record.model_dump(mode="json") for record in records]})


@router.get("/threads/{thread_id}/approvals")
async def approvals(state: StateDep, caller: CallerDep, thread_id: str) -> Response:
    """Who decided what about tool calls that waited, in a conversation and its children, oldest first."""
    thread = await state.threads.get(caller, thread_id)
    return _json({"approvals": await state.approvals.of_thread(caller.organization_id, thread.thread_id)})


@router.post("/threads/{thread_id}/return")
async def return_to_parent(state: StateDep, caller: CallerDep, thread_id: str) -> Response:
    """End the active child of a thread; the user's next message goes to the supervisor again. 409 while a run works."""
    thread = await state.threads.get(caller, thread_id)
    if thread.status == "busy":
        raise Conflict("The thread has an unfinished run; wait for it or cancel it.", thread_id=thread.thread_id)
    active = [
        child
        for child in await state.threads.children(caller.organization_id, thread.thread_id)
        if child.child_status == "active"
    ]
    if not active:
        raise NotFound("active child of thread", thread_id)
    config: RunnableConfig = {
        "configurable": {"thread_id": checkpoint_thread(caller.organization_id, thread.thread_id)}
    }
    with acting_for(caller.organization_id):
        await state.graphs[SUPERVISOR].aupdate_state(config, {"active_child": None}, as_node="finish")
    for child in active:
        await state.children.set_status(caller.organization_id, child.thread_id, "completed")
    return _json({"returned_from": [child.thread_id for child in active]})
