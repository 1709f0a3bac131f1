"""Threads of the LangGraph API: conversations, their state and its history, their child conversations."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Response

from domain.runs import Thread
from server.deps import AppState, CallerDep, StateDep
from server.render.serialize import thread_json
from server.routes.assistants import chosen, json_response, page_headers
from server.schemas import (
    CheckpointRef,
    StateAt,
    StateHistory,
    StateUpdate,
    ThreadCount,
    ThreadCreate,
    ThreadPatch,
    ThreadSearch,
)
from server.states import Graph, ThreadStates

router = APIRouter(tags=["threads"])
STATES_AT_ONCE = 6
"""How many states a search reads at a time: a search must not take the pool from everybody else."""


@router.post("/threads")
async def create_thread(
    state: StateDep, caller: CallerDep, body: Annotated[ThreadCreate | None, Body()] = None
) -> Response:
    """A new thread. 409 where its id is taken, unless `if_exists` is `do_nothing` and it is the caller's."""
    asked = body or ThreadCreate()
    thread = await state.threads.create(
        caller,
        thread_id=str(asked.thread_id) if asked.thread_id else None,
        metadata=asked.metadata,
        if_exists=asked.if_exists or "raise",
    )
    return json_response(thread_json(thread, values=None))


@router.post("/threads/search")
async def search_threads(
    state: StateDep, caller: CallerDep, body: Annotated[ThreadSearch | None, Body()] = None
) -> Response:
    """The threads that fit. Leaving `values` and `interrupts` out of `select` makes it much cheaper."""
    asked = body or ThreadSearch()
    sort_by = asked.sort_by or "created_at"
    found = await state.threads.search(
        caller,
        metadata=asked.metadata,
        status=asked.status,
        ids=[str(one) for one in asked.ids] if asked.ids is not None else None,
        parent_thread_id=str(asked.parent_thread_id) if asked.parent_thread_id else None,
        sort_by="updated_at" if sort_by == "state_updated_at" else sort_by,
        sort_order=asked.sort_order or "desc",
        limit=asked.limit + 1,
        offset=asked.offset,
    )
    headers = page_headers(len(found), limit=asked.limit, offset=asked.offset)
    with_values = not asked.select or bool({"values", "interrupts"} & set(asked.select))
    rows = await _shown(state, caller, found[: asked.limit], with_values=with_values)
    return json_response([chosen(row, asked.select) for row in rows], headers=headers)


@router.post("/threads/count")
async def count_threads(
    state: StateDep, caller: CallerDep, body: Annotated[ThreadCount | None, Body()] = None
) -> Response:
    """How many threads fit."""
    asked = body or ThreadCount()
    return json_response(await state.threads.count(caller, metadata=asked.metadata, status=asked.status))


@router.get("/threads/{thread_id}")
async def get_thread(state: StateDep, caller: CallerDep, thread_id: str) -> Response:
    """A thread with the values it shows and the interrupts it waits at."""
    thread = await state.threads.get(caller, thread_id)
    [row] = await _shown(state, caller, [thread], with_values=True)
    return json_response(row)


@router.patch("/threads/{thread_id}")
async def patch_thread(
    state: StateDep,
    caller: CallerDep,
    thread_id: str,
    body: ThreadPatch,
    prefer: Annotated[str | None, Header()] = None,
) -> Response:
    """Merge metadata: `title` renames a conversation, `archived` puts it away. 204 with `Prefer: return=minimal`."""
    thread = await state.threads.patch(caller, thread_id, body.metadata)
    if prefer == "return=minimal":
        return Response(status_code=204)
    [row] = await _shown(state, caller, [thread], with_values=True)
    return json_response(row)


@router.delete("/threads/{thread_id}")
async def delete_thread(state: StateDep, caller: CallerDep, thread_id: str) -> Response:
    """End the thread's runs, then forget it with its children, runs, events and state."""
    thread = await state.threads.get(caller, thread_id)
    for status in ("pending", "running"):
        runs = await state.engine.list_runs(
            caller.organization_id, thread.thread_id, limit=1000, offset=0, status=status
        )
        for run in runs:
            await state.engine.cancel(caller.organization_id, run, wait=True)
    await state.threads.delete(caller, thread.thread_id)
    return Response(status_code=204)


@router.get("/threads/{thread_id}/state")
async def thread_state(state: StateDep, caller: CallerDep, thread_id: str, subgraphs: bool = False) -> Response:
    """The newest state; with `subgraphs` that of running subgraphs inside its tasks."""
    thread, states, graph = await _opened(state, caller, thread_id)
    return _state(states.render(thread, graph, await states.latest(thread, graph, subgraphs=subgraphs)))


@router.get("/threads/{thread_id}/state/{checkpoint_id}")
async def thread_state_at(
    state: StateDep, caller: CallerDep, thread_id: str, checkpoint_id: str, subgraphs: bool = False
) -> Response:
    """The state at a checkpoint."""
    thread, states, graph = await _opened(state, caller, thread_id)
    return _state(states.render(thread, graph, await states.at(thread, graph, checkpoint_id, subgraphs=subgraphs)))


@router.post("/threads/{thread_id}/state/checkpoint")
async def thread_state_at_checkpoint(state: StateDep, caller: CallerDep, thread_id: str, body: StateAt) -> Response:
    """The state at a checkpoint of the thread or of a subgraph in it; the newest one without `checkpoint_id`."""
    thread, states, graph = await _opened(state, caller, thread_id)
    if body.checkpoint.checkpoint_id is None:
        ns = body.checkpoint.checkpoint_ns or ""
        latest = await states.latest(thread, graph, checkpoint_ns=ns, subgraphs=body.subgraphs)
        return _state(states.render(thread, graph, latest))
    snapshot = await states.at(
        thread,
        graph,
        body.checkpoint.checkpoint_id,
        checkpoint_ns=body.checkpoint.checkpoint_ns or "",
        subgraphs=body.subgraphs,
    )
    return _state(states.render(thread, graph, snapshot))


@router.post("/threads/{thread_id}/state")
async def update_thread_state(state: StateDep, caller: CallerDep, thread_id: str, body: StateUpdate) -> Response:
    """Change the state as if node `as_node` had; gives the new checkpoint."""
    thread, states, graph = await _opened(state, caller, thread_id)
    at = body.checkpoint or CheckpointRef()
    checkpoint = await states.update(
        thread,
        graph,
        body.values,
        as_node=body.as_node,
        checkpoint_id=body.checkpoint_id or at.checkpoint_id,
        checkpoint_ns=at.checkpoint_ns or "",
    )
    return json_response({"checkpoint": checkpoint, "checkpoint_id": (checkpoint or {}).get("checkpoint_id")})


@router.get("/threads/{thread_id}/history")
async def thread_history(
    state: StateDep,
    caller: CallerDep,
    thread_id: str,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    before: str | None = None,
) -> Response:
    """The thread's states, newest first."""
    return await _history(state, caller, thread_id, StateHistory(limit=limit, before=before))


@router.post("/threads/{thread_id}/history")
async def search_thread_history(
    state: StateDep, caller: CallerDep, thread_id: str, body: Annotated[StateHistory | None, Body()] = None
) -> Response:
    """The thread's states, newest first: those before a checkpoint, or whose metadata contain `metadata`."""
    return await _history(state, caller, thread_id, body or StateHistory())


async def _history(state: AppState, caller: CallerDep, thread_id: str, asked: StateHistory) -> Response:
    thread, states, graph = await _opened(state, caller, thread_id)
    at = asked.checkpoint or CheckpointRef()
    found = await states.history(
        thread,
        graph,
        limit=asked.limit,
        before=asked.before.checkpoint_id if isinstance(asked.before, CheckpointRef) else asked.before,
        metadata=asked.metadata,
        checkpoint_ns=at.checkpoint_ns or "",
        checkpoint_id=at.checkpoint_id,
    )
    return _state(states.render(thread, graph, found))


def states_of(state: AppState) -> ThreadStates:
    """The reader of thread state over this server's graphs."""
    return ThreadStates(state.graphs, max_message_chars=state.settings.max_message_chars)


async def _opened(state: AppState, caller: CallerDep, thread_id: str) -> tuple[Thread, ThreadStates, Graph]:
    thread = await state.threads.get(caller, thread_id)
    states = states_of(state)
    return thread, states, await _graph(state, caller, states, thread)


async def _graph(state: AppState, caller: CallerDep, states: ThreadStates, thread: Thread) -> Graph:
    """The graph the thread's state belongs to: a child's is its root's."""
    if thread.root_thread_id is None:
        return states.graph_of(thread)
    return states.graph_of(thread, await state.threads.get(caller, thread.root_thread_id))


async def _shown(
    state: AppState, caller: CallerDep, threads: list[Thread], *, with_values: bool
) -> list[dict[str, Any]]:
    if not with_values:
        return [thread_json(thread, values=None) for thread in threads]
    states = states_of(state)
    gate = asyncio.Semaphore(STATES_AT_ONCE)

    async def one(thread: Thread) -> dict[str, Any]:
        async with gate:
            values, interrupts = await states.values(thread, await _graph(state, caller, states, thread))
        return thread_json(thread, values=values or None, interrupts=interrupts)

    return list(await asyncio.gather(*(one(thread) for thread in threads)))


def _state(rendered: bytes) -> Response:
    return Response(rendered, media_type="application/json")
