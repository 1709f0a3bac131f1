"""One answer to one request of another service: a model's own, or an agent's at the end of a run that leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from domain.calls import CallRecord
from domain.errors import ConsiliumError, TimedOut
from domain.identity import Identity
from domain.ids import ThreadId, TraceId, new_id
from domain.runs import TERMINAL, Event, Run
from nodes.call import Call
from nodes.delegate import ORGANIZATION_SPECIALIST
from nodes.runtime import RunContext, Services
from nodes.structure import ask, quotes_as_json, structured
from providers.sampling import Sampling
from providers.structured import JsonOutput
from server.engine.contract import RunRequest
from server.engine.engine import Engine
from storage.model_calls import ModelCalls
from tools.delegation import SWITCH

AGENT = "generate"
"""What calls without an agent are booked under."""
_recording: ContextVar[list[CallRecord] | None] = ContextVar("recording", default=None)


def record_call(record: CallRecord) -> None:
    """An observer of the caller: keeps the calls of a request that wants to know what it used."""
    if (kept := _recording.get()) is not None:
        kept.append(record)


@dataclass(slots=True)
class Generated:
    """The answer and what it took. `records` are all model calls, the one that answered last; tokens of failed ones count, too."""

    message: AIMessage
    agent: str | None
    records: list[CallRecord]
    tools_called: list[dict[str, Any]] = field(default_factory=list)
    tool_steps: int = 0
    routes: list[dict[str, Any]] = field(default_factory=list)
    """Who was in line at each choice of a model, and why others weren't."""
    citations: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self, *, latency_ms: int, trace_id: TraceId) -> dict[str, Any]:
        """The body of the answer. `parsed` is there where JSON was asked for."""
        metadata = self.message.response_metadata
        attempts = [attempt for record in self.records for attempt in record.attempts]
        answered = self._answered()
        return {
            "answer": self.message.text,
            **({"parsed": self.message.additional_kwargs["parsed"]} if metadata.get("structured") else {}),
            "used_tokens": {
                "prompt": sum(attempt.prompt_tokens or 0 for attempt in attempts),
                "completion": sum(attempt.completion_tokens or 0 for attempt in attempts),
            },
            "tools_called": self.tools_called,
            "meta": {
                "model": answered.model if answered else None,
                "provider": answered.provider if answered else None,
                "fallback": answered is not None and _stood_in(answered),
                "agent": self.agent,
                "latency_ms": latency_ms,
                "trace_id": trace_id,
                "tool_steps": self.tool_steps,
                "stop_reason": metadata.get("stop_reason") or _ending(metadata),
                **({"repaired": metadata["repaired"]} if metadata.get("structured") else {}),
            },
        }

    def _answered(self) -> CallRecord | None:
        """The call whose answer it is: the last of the agent itself, not of its specialists."""
        metadata = self.message.response_metadata
        by = (metadata.get("provider"), metadata.get("model"))
        calls = [record for record in self.records if record.outcome == "answered"]
        return next(
            (call for call in reversed(calls) if (call.provider, call.model) == by), calls[-1] if calls else None
        )


def _stood_in(call: CallRecord) -> bool:
    """Whether another than the first in line answered."""
    first = call.candidates[0] if call.candidates else {}
    return (first.get("provider"), first.get("model")) != (call.provider, call.model)


def _ending(metadata: dict[str, Any]) -> str:
    return "max_output_tokens" if metadata.get("finish_reason") == "length" else "completed"


async def by_model(
    services: Services,
    run: RunContext,
    prompt: Sequence[BaseMessage],
    *,
    seconds: float,
    sampling: Sampling,
) -> Generated:
    """What the chosen model says to the prompt. Raises TimedOut, InvalidStructuredOutput, and what a call raises."""
    output = JsonOutput(run.response_schema, services.json_prompts) if run.mode == "json" else None
    route = await services.chooser.route(
        run.organization_id, run.user_id, run.wishes, json_output=run.response_schema is not None
    )
    call = Call(
        services=services,
        run=run,
        agent=AGENT,
        thread_id=None,
        route=route,
        tools=[],
        sources=None,
        seconds=seconds,
        purpose="generate",
        output=output,
        sampling=sampling,
    )
    records: list[CallRecord] = []
    _recording.set(records)
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            message = await ask(call, list(prompt))
    except TimeoutError:
        raise TimedOut(seconds) from None
    if output is not None and output.schema is None and message.response_metadata["provider"] == "extractive":
        message, _ = quotes_as_json(message, [])
    elif output is not None:
        call.seconds = seconds - (time.monotonic() - began)
        message = await structured(call, prompt, message)
    return Generated(message, None, records)


async def by_agent(
    engine: Engine, calls: ModelCalls, caller: Identity, request: RunRequest, *, seconds: float, trace_id: TraceId
) -> Generated:
    """What the agent answers in a conversation of its own, which is gone afterwards.

    Raises TimedOut, RunFailed, and what `submit` raises; whoever stops waiting ends the run.
    """
    run = await engine.submit(
        caller,
        ThreadId(new_id()),
        request,
        idempotency_key=None,
        trace_id=trace_id,
        own_thread=True,
        ephemeral=True,
    )
    seen = _Seen()
    try:
        async with asyncio.timeout(seconds):
            await _follow(engine, run, seen)
    except TimeoutError:
        await engine.cancel(run.organization_id, run, wait=False)
        raise TimedOut(seconds) from None
    except asyncio.CancelledError:
        await asyncio.shield(engine.cancel(run.organization_id, run, wait=False))
        raise
    if seen.error is not None:
        raise RunFailed(seen.error)
    records = [stored.record for stored in await calls.of_run(run.organization_id, run.run_id)]
    agent = request.agent if run.graph_id == ORGANIZATION_SPECIALIST else run.graph_id
    tools = list(seen.tools.values())
    return Generated(seen.answer(), agent, records, tools, seen.steps(), seen.routes, seen.citations)


class RunFailed(Exception):
    """A run ended with an error: `data` is that error as the run's readers see it."""

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(str(data.get("message")))
        self.data = data

    @property
    def code(self) -> str:
        return str(self.data.get("error_code") or ConsiliumError.code)

    @property
    def status(self) -> int:
        """Of the error's class; of a fault of ours where it has none."""
        kinds: Iterable[type[ConsiliumError]] = _kinds(ConsiliumError)
        return next((kind.status for kind in kinds if kind.code == self.code), 504 if self.code == "timeout" else 500)


def _kinds(kind: type[ConsiliumError]) -> Iterable[type[ConsiliumError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


@dataclass(slots=True)
class _Seen:
    """What of a run's events an answer is made of."""

    messages: list[BaseMessage] = field(default_factory=list)
    error: dict[str, Any] | None = None
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    routes: list[dict[str, Any]] = field(default_factory=list)
    citations: list[dict[str, Any]] = field(default_factory=list)

    def take(self, event: Event) -> None:
        data = event.data
        if event.method == "error":
            self.error = data
        elif event.method == "values" and not event.ns and "messages" in data:
            self.messages = data["messages"]
            self.citations = data.get("citations") or []
        elif event.method == "custom" and data.get("type") == "route":
            self.routes.append({key: value for key, value in data.items() if key != "type"})
        elif event.method == "custom" and data.get("type") == "tool_call" and data["duration_ms"] is not None:
            shown = ("agent", "name", "arguments", "status", "duration_ms")
            self.tools[f"{data['agent']}:{data['tool_call_id']}"] = {key: data[key] for key in shown}
        elif event.method == "custom" and data.get("type") == "delegation" and data["status"] != "waiting":
            self.tools[f"{SWITCH}:{data['tool_call_id']}"] = {
                "agent": "main",
                "name": SWITCH,
                "arguments": {"agent": data["agent"], "task": data["task"]},
                "status": "failed" if data["status"] == "failed" else "succeeded",
                "duration_ms": None,
            }

    def answer(self) -> AIMessage:
        last = self.messages[-1] if self.messages else None
        if not isinstance(last, AIMessage):
            raise ConsiliumError("The run ended without an answer.")
        return last

    def steps(self) -> int:
        """Rounds of tools of the agent itself, after the question."""
        asked = max((i for i, message in enumerate(self.messages) if isinstance(message, HumanMessage)), default=-1)
        return sum(bool(message.tool_calls) for message in self.messages[asked + 1 :] if isinstance(message, AIMessage))


async def _follow(engine: Engine, run: Run, seen: _Seen) -> None:
    """Until the run is over. One that this process lets go of goes on elsewhere, and is followed there."""
    after: int | None = None
    while True:
        async with aclosing(engine.tail(run.organization_id, run, after_seq=after)) as events:  # type: ignore[type-var]
            async for event in events:
                if event is None:
                    continue
                if event.terminal and event.data.get("status") not in TERMINAL:
                    break
                seen.take(event)
                if event.terminal:
                    return
                after = event.seq
