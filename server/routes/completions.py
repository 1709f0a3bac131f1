"""OpenAI's chat completions: a model's name is a call without a graph, an agent's a stateless run of its graph."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import orjson
import structlog
from fastapi import APIRouter, Request, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from domain.errors import ConsiliumError, InvalidInput, UnknownModel
from domain.identity import Identity
from domain.ids import ThreadId, new_id
from domain.runs import Run
from domain.trace import current_trace_id
from providers.call import Retraction
from providers.wire.openai import Chunk
from server.completion_request import CompletionRequest, read_completion
from server.connected import Connected
from server.deps import AppState, caller_of, state_of
from server.errors import error_response
from server.feed import COMPLETE, Complete, Feed
from server.gateway import GatewayCall, route_completion, with_agents
from server.render.openai import (
    DONE,
    KEEP_ALIVE,
    AgentAnswer,
    AnswerFailed,
    ModelAnswer,
    error_event,
    sse,
    whole_answer,
)
from server.render.sse import EventStream
from server.run_requests import run_request
from server.schemas import RunCreate

log = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1", tags=["openai"])
PATIENCE_SECONDS = 15.0
"""How long a stream's status may wait for its first token. After that it is 200, and a failure an event of the stream."""
KEEP_ALIVE_SECONDS = 15.0
GONE = 499
"""Logged for a client that left before its answer began."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
T = TypeVar("T")
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "messages"],
                    "properties": {
                        "model": {"type": "string", "description": "An agent, a model, an alias, or `auto`."},
                        "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
                        "stream": {"type": "boolean"},
                        "stream_options": {"type": "object"},
                        "tools": {"type": "array", "items": {"type": "object"}},
                    },
                }
            }
        },
    }
}


@router.post("/chat/completions", openapi_extra=_BODY)  # describes it; QUICK serves it
async def chat_completions(request: Request) -> Response:
    """OpenAI's chat completions, streamed or not, by an agent or a model."""
    # not as dependencies: FastAPI's solving of two takes 0.3 ms of a first token
    state, caller = state_of(request), await caller_of(request)
    asked = read_completion(await request.body(), request.headers.get("content-type", ""))
    if state.assistants.is_released(asked.model):
        return await _ask_agent(request, state, caller, asked)
    tokens = asked.prompt_tokens()
    try:
        route = await route_completion(state, caller, asked, tokens)
    except UnknownModel as unknown:
        agents = [one.name for one in await state.assistants.all(caller.organization_id)]
        if asked.model in agents:
            return await _ask_agent(request, state, caller, asked)
        raise with_agents(unknown, agents) from None
    call = GatewayCall(state, caller, asked, route, tokens)
    feed: Feed[Chunk | Retraction] = Feed(call.pieces(), seconds=state.settings.limits.turn_seconds)
    answer = ModelAnswer(call.call_id)
    if asked.stream:
        return await _streamed(request, feed, _model_events(feed, call, answer, asked), lambda: _headers(call, asked))
    chunks = await _unless_gone(request, feed, _collected(feed, call, answer))
    if chunks is None:
        return Response(status_code=GONE)
    content = whole_answer(chunks, answer.usage_chunk(call.usage())["usage"])
    return Settled(feed, content, _headers(call, asked))


QUICK = Route(f"{router.prefix}/chat/completions", chat_completions, methods=["POST"])
"""The same route without FastAPI's layers, which take 0.15 ms of a first token. To be matched before the router's."""


def _headers(call: GatewayCall, asked: CompletionRequest) -> dict[str, str]:
    headers = {"x-consilium-call-id": call.call_id, **_ignored(asked.ignored)}
    if call.candidate is not None:
        headers["x-consilium-provider"] = call.candidate.provider
    return headers


def _ignored(names: tuple[str, ...]) -> dict[str, str]:
    shown = [name for name in names if _NAME.fullmatch(name)][:50]
    return {"x-consilium-ignored": ", ".join(shown)} if shown else {}


async def _model_events(
    feed: Feed[Chunk | Retraction], call: GatewayCall, answer: ModelAnswer, asked: CompletionRequest
) -> AsyncGenerator[bytes, None]:
    """The answer's chunks, and [DONE] once it is whole; an error event in its place where it isn't."""
    try:
        async for chunk in feed.items(KEEP_ALIVE_SECONDS):
            if chunk is None:
                yield KEEP_ALIVE
                continue
            assert not isinstance(chunk, Retraction), "a streamed call takes nothing back"
            assert call.candidate is not None, "somebody gave the chunk"
            shown = answer.take(chunk, call.candidate.model)
            if shown is not None:
                yield sse(shown)
    except Exception as failed:  # noqa: BLE001 - the status is out: the client learns of it here
        yield _broken_off(failed)
        return
    if asked.include_usage:
        yield sse(answer.usage_chunk(call.usage()))
    yield DONE


async def _collected(feed: Feed[Chunk | Retraction], call: GatewayCall, answer: ModelAnswer) -> list[Chunk]:
    chunks: list[Chunk] = []
    async for chunk in feed.items(KEEP_ALIVE_SECONDS):
        if isinstance(chunk, Retraction):
            chunks.clear()
            answer.usage = None
        elif chunk is not None:
            assert call.candidate is not None, "somebody gave the chunk"
            shown = answer.take(chunk, call.candidate.model)
            if shown is not None:
                chunks.append(shown)
    return chunks


# Agents


async def _ask_agent(request: Request, state: AppState, caller: Identity, asked: CompletionRequest) -> Response:
    body, ignored = agent_run(asked)
    assistant = await state.assistants.find(caller.organization_id, asked.model)
    accepted = run_request(state.graphs, assistant, body, max_message_chars=state.settings.max_message_chars)
    await state.rates.admit(caller.organization_id, caller.user_id, None)
    run = await state.engine.submit(
        caller,
        ThreadId(new_id()),
        accepted,
        idempotency_key=None,
        trace_id=current_trace_id(),
        own_thread=True,
        ephemeral=True,
    )
    answer = AgentAnswer(asked.model, run.run_id, live=asked.stream and asked.response_format == "text")
    feed: Feed[Chunk] = Feed(_run_chunks(state, run, answer))
    headers = {"x-consilium-call-id": run.run_id, "x-consilium-provider": "consilium", **_ignored(ignored)}
    if asked.stream:
        return await _streamed(request, feed, _agent_events(feed, answer, asked), lambda: headers)
    try:
        chunks = await _unless_gone(request, feed, _all(feed))
    except AnswerFailed as failed:
        return _refused(failed)
    if chunks is None:
        return Response(status_code=GONE)
    return Settled(feed, whole_answer(chunks, answer.usage()), headers)


def agent_run(asked: CompletionRequest) -> tuple[RunCreate, tuple[str, ...]]:
    """A request as a run of an agent, and the parameters that mean nothing to it. Raises InvalidInput."""
    given = asked.parameters
    if given.get("tools") or given.get("tool_choice") not in (None, "auto", "none"):
        problem = "an agent has its own tools (GET /v1/tools); leave them out, or ask a model (GET /v1/models)"
        raise InvalidInput("tools", problem)
    for n, message in enumerate(asked.messages):
        if message["role"] == "tool" or message.get("tool_calls"):
            raise InvalidInput(f"messages[{n}]", "an agent makes its own tool calls; send what was said only")
    if asked.messages[-1]["role"] != "user":
        raise InvalidInput("messages", "must end with what the user says")
    context: dict[str, Any] = {}
    if asked.response_format != "text":
        context["mode"] = "json"
    if asked.response_format == "json_schema":
        context["response_schema"] = given["response_format"]["json_schema"]["schema"]
    messages = [{"role": one["role"], "content": one["content"]} for one in asked.messages]
    body = RunCreate(assistant_id=asked.model, input={"messages": messages}, context=context)
    heard = {"messages", "tools", "tool_choice", "response_format"}
    return body, tuple(sorted({*asked.ignored, *(set(given) - heard)}))


async def _run_chunks(state: AppState, run: Run, answer: AgentAnswer) -> AsyncGenerator[Chunk | Complete, None]:
    """The run's events as chunks. A reader that leaves ends the run: nobody else can read it."""
    over = False
    try:
        async with aclosing(state.engine.tail(run.organization_id, run, after_seq=None)) as events:  # type: ignore[type-var]
            async for event in events:
                if event is None:
                    continue
                over = event.terminal
                for chunk in answer.read(event):
                    yield chunk
        yield COMPLETE
    finally:
        if not over:
            await asyncio.shield(state.engine.cancel(run.organization_id, run, wait=False))


async def _agent_events(
    feed: Feed[Chunk], answer: AgentAnswer, asked: CompletionRequest
) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in feed.items(KEEP_ALIVE_SECONDS):
            yield KEEP_ALIVE if chunk is None else sse(chunk)
    except Exception as failed:  # noqa: BLE001 - the status is out: the client learns of it here
        yield _broken_off(failed)
        return
    if asked.include_usage:
        yield sse(answer.usage_chunk())
    yield DONE


async def _all(feed: Feed[Chunk]) -> list[Chunk]:
    return [chunk async for chunk in feed.items(KEEP_ALIVE_SECONDS) if chunk is not None]


# Responses


async def _streamed(
    request: Request, feed: Feed[Any], events: AsyncGenerator[bytes, None], headers: Callable[[], Mapping[str, str]]
) -> Response:
    """The stream, once it has begun or is late; before that a failure is the response."""
    try:
        begun = await _unless_gone(request, feed, feed.begun(PATIENCE_SECONDS))
    except AnswerFailed as failed:
        return _refused(failed)
    if begun is None:
        return Response(status_code=GONE)
    return SettledStream(feed, events, headers())


def _broken_off(failed: Exception) -> bytes:
    if not isinstance(failed, AnswerFailed | ConsiliumError):
        log.error("a stream was broken off", exc_info=failed)
    return error_event(failed, current_trace_id())


def _refused(failed: AnswerFailed) -> Response:
    told = failed.told
    code, message, details = str(told["error_code"]), str(told.get("message")), told.get("details")
    return error_response(failed.status, code, message, current_trace_id(), details)


async def _unless_gone(request: Request, feed: Feed[Any], work: Awaitable[T]) -> T | None:
    """What `work` gives; None where the client left meanwhile, which ends the feed."""
    try:
        async with Connected(request.receive):
            return await work
        await feed.cancel()
        return None
    except BaseException:
        await feed.cancel()
        raise


class Settled(Response):
    """A whole answer; the ledger's work goes on after it is sent."""

    def __init__(self, feed: Feed[Any], content: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        super().__init__(orjson.dumps(content), headers=dict(headers), media_type="application/json")
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._feed.settled()


class SettledStream(EventStream):
    """A streamed answer; a client that leaves ends it, and the ledger's work goes on after it is sent."""

    def __init__(self, feed: Feed[Any], events: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> None:
        super().__init__(events, headers=headers, on_disconnect=feed.cancel)
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._feed.settled()
