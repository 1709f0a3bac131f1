"""Runs of the LangGraph API: start, follow, wait for, list and end executions, on a thread or without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Header, Query, Response

from domain.errors import Conflict, ConsiliumError, InvalidInput, NotFound
from domain.identity import Identity
from domain.ids import RunId, ThreadId, is_uuid, new_id
from domain.policy import ModelPolicy
from domain.runs import TERMINAL, Event, Run, RunStatus
from domain.trace import current_trace_id
from server.approvals import resumption
from server.deps import AppState, CallerDep, StateDep
from server.engine.contract import Resumption, RunRequest
from server.render.serialize import Hidden, dumps, error_json, only, run_json
from server.render.sse import (
    HEARTBEAT,
    STREAM_MODES,
    EventStream,
    SseRenderer,
    StreamCut,
    error_data,
    resume_point,
    stream_modes,
)
from server.routes.assistants import chosen, json_response
from server.routes.threads import states_of
from server.run_requests import run_request
from server.schemas import RunCreate, RunsCancel
from server.states import public_keys

router = APIRouter(tags=["runs"])
KEEP_ALIVE_SECONDS = 5.0
RunField = Literal[
    "run_id",
    "thread_id",
    "assistant_id",
    "created_at",
    "updated_at",
    "status",
    "metadata",
    "kwargs",
    "multitask_strategy",
]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]


@router.post("/threads/{thread_id}/runs")
async def create_run(
    state: StateDep, caller: CallerDep, thread_id: str, body: RunCreate, key: IdempotencyKey = None
) -> Response:
    """Start a run and don't wait for it."""
    run = await _submit(state, caller, thread_id, body, key)
    return json_response(run_json(run), headers={"Content-Location": _path(run)})


@router.post("/runs")
async def create_stateless_run(
    state: StateDep, caller: CallerDep, body: RunCreate, key: IdempotencyKey = None
) -> Response:
    """Start a run on a thread of its own that goes away with it (`on_completion: keep` keeps it)."""
    run = await _submit(state, caller, None, body, key)
    return json_response(run_json(run), headers={"Content-Location": _path(run)})


@router.post("/threads/{thread_id}/runs/stream")
async def stream_run(
    state: StateDep, caller: CallerDep, thread_id: str, body: RunCreate, key: IdempotencyKey = None
) -> Response:
    """Start a run and follow its events (SSE). `Content-Location` names the run, `Location` where to join it again."""
    run = await _submit(state, caller, thread_id, body, key)
    return _stream_started(state, run)


@router.post("/runs/stream")
async def stream_stateless_run(
    state: StateDep, caller: CallerDep, body: RunCreate, key: IdempotencyKey = None
) -> Response:
    """Start a run on a thread of its own and follow its events."""
    run = await _submit(state, caller, None, body, key)
    return _stream_started(state, run)


@router.post("/threads/{thread_id}/runs/wait")
async def wait_run(
    state: StateDep, caller: CallerDep, thread_id: str, body: RunCreate, key: IdempotencyKey = None
) -> Response:
    """Start a run and answer with the values it ends with; `__error__` in them where it failed."""
    run = await _submit(state, caller, thread_id, body, key)
    return _wait(state, run, cancel_on_disconnect=run.kwargs.get("on_disconnect") == "cancel")


@router.post("/runs/wait")
async def wait_stateless_run(
    state: StateDep, caller: CallerDep, body: RunCreate, key: IdempotencyKey = None
) -> Response:
    """Start a run on a thread of its own and answer with the values it ends with."""
    run = await _submit(state, caller, None, body, key)
    return _wait(state, run, cancel_on_disconnect=run.kwargs.get("on_disconnect") == "cancel")


@router.post("/runs/cancel")
async def cancel_runs(state: StateDep, caller: CallerDep, body: RunsCancel, action: str = "interrupt") -> Response:
    """End several runs of one thread."""
    _only_interrupt(action)
    thread = await state.threads.get(caller, str(body.thread_id))
    for run_id in body.run_ids:
        run = await state.engine.get_run(caller.organization_id, thread.thread_id, RunId(str(run_id)))
        await state.engine.cancel(caller.organization_id, run, wait=False)
    return Response(status_code=204)


@router.get("/threads/{thread_id}/runs")
async def list_runs(
    state: StateDep,
    caller: CallerDep,
    thread_id: str,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    status: RunStatus | None = None,
    select: Annotated[list[RunField] | None, Query()] = None,
) -> Response:
    """The thread's runs, newest first."""
    thread = await state.threads.get(caller, thread_id)
    runs = await state.engine.list_runs(
        caller.organization_id, thread.thread_id, limit=limit, offset=offset, status=status
    )
    return json_response([chosen(run_json(run), select) for run in runs])


@router.get("/threads/{thread_id}/runs/{run_id}")
async def get_run(state: StateDep, caller: CallerDep, thread_id: str, run_id: str) -> Response:
    """One run."""
    run = await _found(state, caller, thread_id, run_id)
    return json_response(run_json(run))


@router.delete("/threads/{thread_id}/runs/{run_id}")
async def delete_run(state: StateDep, caller: CallerDep, thread_id: str, run_id: str) -> Response:
    """Forget a run that is over; 409 where it isn't."""
    run = await _found(state, caller, thread_id, run_id)
    await state.engine.delete_run(caller.organization_id, run.thread_id, run.run_id)
    return Response(status_code=204)


@router.post("/threads/{thread_id}/runs/{run_id}/cancel")
async def cancel_run(
    state: StateDep, caller: CallerDep, thread_id: str, run_id: str, wait: bool = False, action: str = "interrupt"
) -> Response:
    """End a run, keeping what it did. 202 at once, or with `wait` the thread's values once it has ended."""
    _only_interrupt(action)
    run = await _found(state, caller, thread_id, run_id)
    await state.engine.cancel(caller.organization_id, run, wait=wait)
    if not wait:
        return Response(status_code=202)
    values = only(await state.engine.values(caller.organization_id, run), _keys(state, run))
    return Response(
        _hidden(run).strip(dumps(values)), media_type="application/json", headers={"Content-Location": _path(run)}
    )


@router.get("/threads/{thread_id}/runs/{run_id}/join")
async def join_run(
    state: StateDep, caller: CallerDep, thread_id: str, run_id: str, cancel_on_disconnect: bool = False
) -> Response:
    """Wait for a run and answer with the values it ended with."""
    run = await _found(state, caller, thread_id, run_id)
    return _wait(state, run, cancel_on_disconnect=cancel_on_disconnect)


@router.get("/threads/{thread_id}/runs/{run_id}/stream")
async def join_run_stream(
    state: StateDep,
    caller: CallerDep,
    thread_id: str,
    run_id: str,
    last_event_id: LastEventId = None,
    stream_mode: Annotated[list[str] | None, Query()] = None,
    stream_subgraphs: bool | None = None,
    cancel_on_disconnect: bool = False,
) -> Response:
    """Follow a run from after `Last-Event-ID`, or from its beginning; also a run that is over.

    `stream_mode` and `stream_subgraphs` are those the run was started with unless sent.
    """
    modes, after = stream_modes(stream_mode), resume_point(last_event_id)
    run = await _found(state, caller, thread_id, run_id)
    subgraphs = run.kwargs.get("stream_subgraphs", False) if stream_subgraphs is None else stream_subgraphs
    return _stream(
        state,
        run,
        modes or run.kwargs.get("stream_mode") or list(STREAM_MODES),
        subgraphs=bool(subgraphs),
        after_seq=after,
        cancel_on_disconnect=cancel_on_disconnect,
    )


async def _submit(state: AppState, caller: Identity, thread_id: str | None, body: RunCreate, key: str | None) -> Run:
    """Accept a run. Without a thread it gets one of its own, which goes away with it unless it is to be kept."""
    seed = f"{caller.organization_id}\n{caller.user_id}\n{key}" if key is not None else None
    assistant = await state.assistants.find(caller.organization_id, body.assistant_id)
    asked = run_request(state.graphs, assistant, body, max_message_chars=state.settings.max_message_chars, seed=seed)
    if thread_id is None:
        if asked.command is not None and "resume" in asked.command:
            raise InvalidInput("command.resume", "needs a thread: send it to /threads/{thread_id}/runs")
        target, ephemeral = ThreadId(new_id()), body.on_completion != "keep"
    else:
        if not is_uuid(thread_id):
            raise NotFound("thread", thread_id)
        target, ephemeral = ThreadId(thread_id.lower()), False
    if asked.checkpoint_id is not None:
        await _check_checkpoint(state, caller, thread_id, asked.graph_id, asked.checkpoint_id)
    answered: Resumption | None = None
    if asked.command is not None and asked.command.get("resume") is not None:
        try:
            answered = await _answered(state, caller, target, asked)
        except Conflict:
            known = None if key is None else await _repeated(state, caller, target, asked, key)
            if known is None:
                raise
            return known
    await state.rates.admit(caller.organization_id, caller.user_id, _named_model(state, asked))
    return await state.engine.submit(
        caller,
        target,
        asked,
        idempotency_key=key,
        trace_id=current_trace_id(),
        create_thread=body.if_not_exists == "create",
        own_thread=thread_id is None,
        ephemeral=ephemeral,
        resumption=answered,
    )


async def _answered(state: AppState, caller: Identity, thread_id: ThreadId, asked: RunRequest) -> Resumption:
    assert asked.command is not None, "it is a resume"
    thread = await state.threads.get(caller, thread_id)
    return await resumption(states_of(state), thread, state.graphs[asked.graph_id], asked.command["resume"])


async def _repeated(state: AppState, caller: Identity, thread_id: ThreadId, asked: RunRequest, key: str) -> Run | None:
    """The run of the same request before, whose answers are no longer waited for."""
    return await state.engine.repeated(caller, thread_id, asked, idempotency_key=key, trace_id=current_trace_id())


def _named_model(state: AppState, asked: RunRequest) -> str | None:
    """The model the request names, as limits name it; None where the choice is left to us. Raises NoProvider."""
    return state.services.chooser.named(ModelPolicy.of({**asked.config.get("configurable", {}), **asked.context}))


async def _check_checkpoint(
    state: AppState, caller: Identity, thread_id: str | None, graph_id: str, checkpoint_id: str
) -> None:
    """LangGraph would begin a new history at a checkpoint that isn't there, over the thread's own."""
    if thread_id is None:
        raise NotFound("checkpoint", checkpoint_id)
    thread = await state.threads.get(caller, thread_id)
    await states_of(state).at(thread, state.graphs[graph_id], checkpoint_id)


async def _found(state: AppState, caller: CallerDep, thread_id: str, run_id: str) -> Run:
    thread = await state.threads.get(caller, thread_id)
    return await state.engine.get_run(caller.organization_id, thread.thread_id, RunId(run_id))


def _only_interrupt(action: str) -> None:
    if action != "interrupt":
        raise InvalidInput("action", "only 'interrupt' is served", supported=["interrupt"])


def _path(run: Run) -> str:
    return f"/threads/{run.thread_id}/runs/{run.run_id}"


def _keys(state: AppState, run: Run) -> frozenset[str]:
    return public_keys(state.graphs[run.graph_id])


def _hidden(run: Run) -> Hidden:
    return Hidden(run.organization_id, run.thread_id, run.thread_id)


def _canceller(state: AppState, run: Run, wanted: bool) -> Callable[[], Awaitable[None]] | None:
    if not wanted:
        return None

    async def cancel() -> None:
        await state.engine.cancel(run.organization_id, run, wait=False)

    return cancel


def _stream_started(state: AppState, run: Run) -> Response:
    """The stream of a run just accepted. A repeated idempotency key gives the first request's run, and its modes."""
    return _stream(
        state,
        run,
        run.kwargs.get("stream_mode") or ["values"],
        subgraphs=bool(run.kwargs.get("stream_subgraphs")),
        cancel_on_disconnect=run.kwargs.get("on_disconnect") == "cancel",
    )


def _stream(
    state: AppState,
    run: Run,
    modes: Sequence[str],
    *,
    subgraphs: bool,
    cancel_on_disconnect: bool,
    after_seq: int | None = None,
) -> Response:
    renderer = SseRenderer(
        modes, subgraphs=subgraphs, keys=_keys(state, run), after_seq=after_seq, strip=_hidden(run).strip
    )

    async def body() -> AsyncGenerator[bytes, None]:
        async with aclosing(_tail(state, run, renderer.tail_from, renderer.methods)) as events:
            async for event in events:
                yield HEARTBEAT if event is None else renderer.render(event)

    # Where a client that lost the connection goes on: the same stream, with its modes.
    again = urlencode({"stream_mode": ",".join(modes), "stream_subgraphs": str(subgraphs).lower()})
    return EventStream(
        body(),
        headers={"Location": f"{_path(run)}/stream?{again}", "Content-Location": _path(run)},
        on_disconnect=_canceller(state, run, cancel_on_disconnect),
    )


async def _tail(
    state: AppState, run: Run, after_seq: int | None, methods: Container[str] | None = None
) -> AsyncGenerator[Event | None, None]:
    """The run's events. Raises StreamCut where this process lets go of a run that isn't over: it goes on elsewhere."""
    async for event in state.engine.tail(run.organization_id, run, after_seq=after_seq, methods=methods):
        if event is not None and event.terminal and event.data.get("status") not in TERMINAL:
            raise StreamCut
        yield event


def _wait(state: AppState, run: Run, *, cancel_on_disconnect: bool) -> Response:
    """The values a run ends with, after white space that keeps the connection open while it works."""

    async def body() -> AsyncGenerator[bytes, None]:
        result = asyncio.ensure_future(_result(state, run))
        try:
            while not result.done():
                await asyncio.wait({result}, timeout=KEEP_ALIVE_SECONDS)
                if not result.done():
                    yield b"\n"
            yield _hidden(run).strip(result.result())
        finally:
            result.cancel()

    return EventStream(
        body(),
        media_type="application/json",
        headers={"Location": f"{_path(run)}/join", "Content-Location": _path(run)},
        on_disconnect=_canceller(state, run, cancel_on_disconnect),
    )


async def _result(state: AppState, run: Run) -> bytes:
    """The last values the root graph showed; `{__error__}` for a run that failed, `{__interrupt__}` for one that waits."""
    values: Any = None
    error: Any = None
    interrupts: list[Any] = []
    keys = _keys(state, run)
    try:
        async with aclosing(_tail(state, run, None)) as events:
            async for event in events:
                if event is None:
                    continue
                if event.method == "error":
                    error = error_data(event.data)
                elif event.ns or not isinstance(event.data, dict):
                    continue
                elif event.method == "values":
                    values = event.data
                elif event.method == "updates":
                    interrupts.extend(event.data.get("__interrupt__") or ())
    except ConsiliumError as failed:
        return dumps({"__error__": error_json(failed)})
    if error is not None:
        return dumps({"__error__": error})
    if values is None:
        values = await state.engine.values(run.organization_id, run)
    shown = only(values, keys)
    return dumps({**shown, "__interrupt__": interrupts} if interrupts else shown)
