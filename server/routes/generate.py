"""The one-shot call of other services."""

from __future__ import annotations

import time
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import Field

from domain.errors import InvalidInput
from domain.identity import Identity
from domain.policy import ModelPolicy
from domain.skills import RunMode
from domain.trace import current_trace_id
from nodes.runtime import RunContext
from providers.json_schema import check_schema
from providers.sampling import Sampling
from server.answers import failed_answer, unless_gone
from server.deps import AppState, CallerDep, StateDep
from server.messages import canonical_messages, revive
from server.one_shot import Generated, RunFailed, by_agent, by_model
from server.render.serialize import dumps
from server.run_requests import check_policy, run_request
from server.schemas import RunCreate

router = APIRouter(prefix="/internal/llm", tags=["generate"])
T = TypeVar("T")


class Generate(ModelPolicy):
    """Exactly one of `prompt` and `messages`. Without `agent` a model is called as it is: no documents, no tools."""

    prompt: Annotated[str, Field(min_length=1)] | None = None
    messages: list[Any] | None = None
    system: str | None = None
    agent: Annotated[str, Field(max_length=200)] | None = None
    mode: RunMode = "chat"
    response_schema: dict[str, Any] | None = None
    max_output_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    timeout_ms: int | None = Field(None, ge=1, le=3_600_000)


@router.post("/generate")
async def generate(request: Request, state: StateDep, caller: CallerDep, body: Generate) -> Response:
    """One answer: `{answer, parsed?, used_tokens, tools_called, meta}`. A caller that leaves ends the work."""
    began = time.perf_counter()
    _check(body)
    messages = _messages(body, state.settings.max_message_chars)
    await state.rates.admit(caller.organization_id, caller.user_id, state.services.chooser.named(body))
    seconds = body.timeout_ms / 1000 if body.timeout_ms is not None else float(state.settings.limits.turn_seconds)
    work = (
        _by_agent(state, caller, body, messages, seconds)
        if body.agent
        else _by_model(state, caller, body, messages, seconds)
    )
    try:
        generated = await unless_gone(request, work)
    except RunFailed as failed:
        return failed_answer(failed)
    if generated is None:
        return Response(status_code=499)  # nobody reads it
    latency_ms = round((time.perf_counter() - began) * 1000)
    return Response(
        dumps(generated.as_json(latency_ms=latency_ms, trace_id=current_trace_id())), media_type="application/json"
    )


def _check(body: Generate) -> None:
    if (body.prompt is None) == (body.messages is None):
        raise InvalidInput("body", "must have exactly one of prompt and messages", fields=["prompt", "messages"])
    if body.response_schema is not None:
        check_schema(body.response_schema, "body.response_schema")
        if body.mode != "json":
            raise InvalidInput("body.response_schema", "needs `mode` to be 'json'")
    check_policy(body, "body")
    if body.agent is None and body.mode == "answer":
        raise InvalidInput("body.mode", "'answer' needs an agent: a model alone reads no documents")
    for name in ("system", "max_output_tokens", "temperature"):
        if body.agent is not None and getattr(body, name) is not None:
            raise InvalidInput(f"body.{name}", "can't be sent together with agent, which has its own")


def _messages(body: Generate, max_chars: int) -> list[dict[str, Any]]:
    given = [{"type": "human", "content": body.prompt}] if body.messages is None else body.messages
    system = [] if body.system is None else [{"type": "system", "content": body.system}]
    field = "body.prompt" if body.messages is None else "body.messages"
    messages = canonical_messages([*system, *given], field, max_chars=max_chars)
    if messages[-1]["type"] not in ("human", "tool"):
        raise InvalidInput(field, "must end with what is to be answered")
    return messages


async def _by_model(
    state: AppState, caller: Identity, body: Generate, messages: list[dict[str, Any]], seconds: float
) -> Generated:
    run = RunContext(
        organization_id=caller.organization_id,
        organization_name=caller.organization_name,
        user_id=caller.user_id,
        trace_id=current_trace_id(),
        mode=body.mode,
        response_schema=body.response_schema,
        wishes=ModelPolicy.of(body.model_dump()),
    )
    sampling = Sampling(body.max_output_tokens, body.temperature)
    return await by_model(state.services, run, revive(messages), seconds=seconds, sampling=sampling)


async def _by_agent(
    state: AppState, caller: Identity, body: Generate, messages: list[dict[str, Any]], seconds: float
) -> Generated:
    wishes = body.model_dump(include={*ModelPolicy.model_fields, "mode", "response_schema"}, exclude_defaults=True)
    assert body.agent is not None, "asked for"
    asked = RunCreate(assistant_id=body.agent, input={"messages": messages}, context=wishes)
    assistant = await state.assistants.find(caller.organization_id, body.agent)
    request = run_request(state.graphs, assistant, asked, max_message_chars=state.settings.max_message_chars)
    return await by_agent(
        state.engine, state.model_calls, caller, request, seconds=seconds, trace_id=current_trace_id()
    )
