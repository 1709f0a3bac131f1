"""`structure`: in the mode `json` the draft becomes the answer once it is one valid JSON value; a stronger model mends what isn't."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import structlog
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, HumanMessage
from langchain_core.messages.ai import add_usage
from langgraph.config import get_stream_writer
from langgraph.runtime import Runtime

from domain.catalogue import Catalogue, ModelSpec
from domain.errors import InvalidInput, InvalidStructuredOutput, TooLarge
from domain.ids import new_id
from domain.knowledge import Source
from nodes.agent import Agent
from nodes.call import Call
from nodes.prompt import parts
from nodes.provider_router import route_of
from nodes.runtime import RunContext, Services
from nodes.state import State
from providers.call import Retraction
from providers.route import Candidate, Route
from providers.structured import Answer, JsonOutput, Repaired, read
from retrieval.cite import resolve

REPAIR_ROUNDS = 2
"""How often a model is asked to correct an answer."""
log = structlog.get_logger(__name__)


def json_output(services: Services, state: State, run: RunContext) -> JsonOutput | None:
    """What this agent's answer is to be; None where it is prose. A child speaks prose: its parent's answer is the run's."""
    if run.mode != "json" or state.get("delegation") is not None:
        return None
    return JsonOutput(run.response_schema, services.json_prompts)


def make(services: Services, agent: Agent) -> Any:
    """The node for one agent."""

    async def structure(state: State, runtime: Runtime[RunContext]) -> dict[str, Any]:
        draft, run = state["draft"], runtime.context
        skill = agent.skill(state, run)
        assert draft is not None, "the graph comes here only with a draft"
        output = JsonOutput(run.response_schema, services.json_prompts)
        route = await route_of(services, skill, state, run, json_output=output.schema is not None)
        if output.schema is None and _is_quoted(draft, route):
            sources = [Source.model_validate(source) for source in state["sources"]]
            answer, citations = quotes_as_json(draft, sources)
            return {"messages": [answer], "citations": citations, "draft": None}
        call = Call(
            services=services,
            run=run,
            agent=skill.name,
            thread_id=run.thread_id,
            route=route,
            tools=[],
            sources=[],
            seconds=state["turn"]["deadline"] + run.waited_seconds - time.time(),
            output=output,
            parts=parts(state, skill, run.organization_name),
        )
        answer = await structured(call, (), draft)
        if answer.text != draft.text:
            _retract(draft, skill.name)
            answer.id = f"run--{new_id()}"
        return {"messages": [answer], "draft": None}

    return structure


async def structured(call: Call, prompt: Sequence[BaseMessage], said: AIMessage) -> AIMessage:
    """`said` with one JSON value as its content, valid against the schema of `call.output`.

    `additional_kwargs.parsed` is the value, `response_metadata.repaired` what it took. At most REPAIR_ROUNDS further calls are
    made, within `call.seconds`, of the candidates of `call.route` and stronger models of theirs; the usage of all is added up.
    `prompt` is what `said` answers where `call` has no parts. Raises InvalidStructuredOutput with `details.errors`,
    `[{path, problem}]`; and what the calls raise.
    """
    assert call.output is not None, "only an answer that is to be JSON is read as such"
    schema, deadline = call.output.schema, time.monotonic() + call.seconds
    usage = said.usage_metadata
    asked_again = False
    answer = await _read(said, schema)
    for _ in range(REPAIR_ROUNDS):
        if not answer.problems:
            break
        route = repair_route(call.route, call.services.catalogue, said.response_metadata)
        seconds = deadline - time.monotonic()
        if not route.candidates or seconds <= 0:
            break
        log.info("answer is not the JSON asked for", agent=call.agent, problems=len(answer.problems))
        exchange: list[AnyMessage] = [_as_text(said), HumanMessage(_request(call.output, answer))]
        again = dataclasses.replace(
            call,
            purpose="repair",
            route=route,
            tools=[],
            sources=[],
            seconds=seconds,
            stripped=0,
            answered=None,
            parts=dataclasses.replace(call.parts, turn=[*call.parts.turn, *exchange]) if call.parts else None,
        )
        try:
            async with asyncio.timeout(seconds):
                said = await ask(again, [*prompt, *exchange])
        except (TimeoutError, TooLarge):
            break
        usage, asked_again = add_usage(usage, said.usage_metadata), True
        answer = await _read(said, schema)
    if answer.problems:
        raise _invalid(answer, schema)
    return _message(said, answer, "model" if asked_again else answer.repaired, usage)


def repair_route(route: Route, catalogue: Catalogue, answered: dict[str, Any]) -> Route:
    """Who may correct an answer: the stronger models, the least of them first, then the one that gave it.

    `answered` has its `provider` and `model`. Stronger is a higher tier; a model that nobody has rated counts as a small one. Of a
    cloud provider every model of the catalogue may be used, of a local one only those that the route has: others may not be loaded.
    """
    stronger: dict[tuple[str, str], tuple[int, Candidate]] = {}
    same: Candidate | None = None
    tier = _tier(catalogue, answered.get("provider"), answered.get("model"))
    for candidate in route.candidates:
        spec = catalogue.provider(candidate.provider)
        if spec is None or spec.family == "extractive":
            continue
        if (candidate.provider, candidate.model) == (answered.get("provider"), answered.get("model")):
            same = candidate
        models = [spec.model(candidate.model), *(spec.models if spec.location == "cloud" else ())]
        for model in models:
            if model.capabilities.chat and (model.tier or 1) > tier:
                stronger.setdefault((spec.name, model.name), (model.tier or 1, _candidate(candidate, model)))
    by_tier = [candidate for _, candidate in sorted(stronger.values(), key=lambda rated: rated[0])]
    if same is None and not by_tier:
        able = (c for c in route.candidates if (s := catalogue.provider(c.provider)) and s.family != "extractive")
        same = next(able, None)
    last = [dataclasses.replace(same, reason="repair")] if same is not None else []
    return dataclasses.replace(route, candidates=(*by_tier, *last))


def _tier(catalogue: Catalogue, provider: str | None, model: str | None) -> int:
    spec = catalogue.provider(provider) if provider else None
    return (spec.model(model).tier if spec and model else None) or 1


def _candidate(of: Candidate, model: ModelSpec) -> Candidate:
    price = model.price
    return dataclasses.replace(
        of,
        model=model.name,
        reason="repair",
        prompt_micro_usd=price.prompt_micro_usd if price else None,
        completion_micro_usd=price.completion_micro_usd if price else None,
    )


async def _read(said: AIMessage, schema: dict[str, Any] | None) -> Answer:
    """Off the event loop: a long broken answer takes a moment."""
    complete = said.response_metadata.get("finish_reason") != "length"
    try:
        return await asyncio.to_thread(read, said.text, schema, complete=complete)
    except InvalidInput as unusable:  # what only shows with a value to check
        raise InvalidStructuredOutput(unusable.message, errors=[{"path": "$", "problem": unusable.message}]) from None


async def ask(call: Call, prompt: list[BaseMessage]) -> AIMessage:
    """One answer, unseen while it is made; `response_metadata` has the `provider` and the `model` that gave it."""
    whole: AIMessageChunk | None = None
    async with aclosing(call.stream(prompt)) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            whole = None if isinstance(piece, Retraction) else piece if whole is None else whole + piece
    assert whole is not None, "a validated stream has a terminal chunk"
    assert call.answered is not None, "somebody answered"
    by = {"provider": call.answered.provider, "model": call.answered.model}
    return AIMessage(
        whole.text, usage_metadata=whole.usage_metadata, response_metadata={**whole.response_metadata, **by}
    )


def _as_text(said: AIMessage) -> AIMessage:
    return AIMessage(said.text or "null")


def _request(output: JsonOutput, answer: Answer) -> str:
    errors = "\n".join(f"- {problem.path}: {problem.problem}" for problem in answer.problems)
    return output.prompts.repair.strip().replace("{errors}", errors)


def _message(said: AIMessage, answer: Answer, repaired: Repaired, usage: Any) -> AIMessage:
    return AIMessage(
        answer.text,
        id=said.id,
        name=said.name,
        usage_metadata=usage,
        additional_kwargs={**said.additional_kwargs, "parsed": answer.value},
        response_metadata={**said.response_metadata, "structured": True, "repaired": repaired},
    )


def _invalid(answer: Answer, schema: dict[str, Any] | None) -> InvalidStructuredOutput:
    errors = [problem.as_json() for problem in answer.problems]
    what = "is not JSON" if schema is None else "is not JSON that fits the schema"
    shown = "; ".join(f"{error['path']}: {error['problem']}" for error in errors[:3])
    return InvalidStructuredOutput(f"The answer {what}: {shown}", errors=errors)


def late() -> InvalidStructuredOutput:
    """The turn's time ran out before there was an answer; in this mode nothing can be said about it in an answer's place."""
    return InvalidStructuredOutput(
        "The time set for one turn ran out before there was an answer.", errors=[], stop_reason="deadline"
    )


def _retract(draft: AIMessage, agent: str) -> None:
    """Readers have seen the draft as it was written."""
    get_stream_writer()(
        {
            "type": "retraction",
            "agent": agent,
            "message_id": draft.id,
            "provider": draft.response_metadata.get("provider"),
            "model": draft.response_metadata.get("model"),
            "error_code": InvalidStructuredOutput.code,
            "reason": "repaired",
            "chars": len(draft.text),
        }
    )


def _is_quoted(draft: AIMessage, route: Route) -> bool:
    """Whether the extractive provider wrote it: itself, or through a child, where there is no other."""
    written_by = draft.response_metadata.get("provider") or route.candidates[0].provider
    return bool(written_by == "extractive")


def quotes_as_json(said: AIMessage, sources: list[Source]) -> tuple[AIMessage, list[dict[str, Any]]]:
    """The extractive provider's answer, which is quotations, as `{"answer", "citations"}`; and the citations."""
    resolved = resolve(said.text, sources)
    citations = [citation.model_dump(mode="json") for citation in resolved.citations]
    value = {"answer": resolved.text, "citations": citations}
    answer = Answer(value, json.dumps(value, ensure_ascii=False), "local", [])
    return _message(said, answer, "local", said.usage_metadata), citations
