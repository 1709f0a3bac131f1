"""An OpenAI chat completion at any provider: forwarded as it is where the provider speaks it, through the vendor's class elsewhere."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from domain.catalogue import ProviderSpec
from domain.errors import InvalidInput
from domain.ids import new_id
from domain.policy import ReasoningEffort
from providers.meter import Meter
from providers.registry import Providers
from providers.route import Candidate
from providers.stream import stream_chat
from providers.structured import is_strict
from providers.wire.openai import Chunk
from providers.wire.openai_http import offered

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk, BaseMessage

_EFFORTS: Mapping[str, ReasoningEffort] = {
    "none": "none", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high",
}  # fmt: skip
_ANTHROPIC_CHOICE = {"auto": "auto", "required": "any", "none": "none"}


async def chat_completion(
    providers: Providers, candidate: Candidate, parameters: Mapping[str, Any], meter: Meter
) -> AsyncGenerator[Chunk, None]:
    """The chunks of a candidate's answer, guarded and in OpenAI's form; complete if the iteration ends without an error.

    `parameters` is OpenAI's request body without `model` and `stream`. Tool calls come whole, in the chunk before the finish. Raises
    ProviderError, and InvalidInput for messages that the candidate's wire can't carry.
    """
    spec = providers.catalogue.provider(candidate.provider)
    assert spec is not None, "candidates are of the catalogue"
    if spec.family == "openai_compatible":
        body = {**parameters, "model": candidate.model, "stream_options": {"include_usage": True}}
        if candidate.reason != "request" and spec.model(candidate.model).capabilities.reasoning is False:
            body.pop("reasoning_effort", None)  # asked of the model it was meant for
        chunks = providers.endpoint(candidate.provider).stream(body, meter)
    else:
        chunks = _through_class(providers, spec, candidate, parameters, meter)
    async with aclosing(chunks):
        async for chunk in chunks:
            for choice in chunk.get("choices") or ():
                if text := choice["delta"].get("content"):
                    meter.shown(str(text))
            yield chunk


async def _through_class(
    providers: Providers, spec: ProviderSpec, candidate: Candidate, parameters: Mapping[str, Any], meter: Meter
) -> AsyncGenerator[Chunk, None]:
    effort = _EFFORTS.get(str(parameters.get("reasoning_effort")))
    answer = _Answer(candidate.model)
    async with aclosing(
        stream_chat(
            providers.chat(candidate.provider, candidate.model, effort=effort),
            candidate.provider,
            _messages(parameters["messages"]),
            tools=parameters.get("tools"),
            known_tools=set(offered(parameters)),
            meter=meter,
            options=options(spec, parameters),
        )  # type: ignore[type-var]
    ) as chunks:
        async for chunk in chunks:
            for rendered in answer.take(chunk):
                yield rendered
    yield answer.finish()


def options(spec: ProviderSpec, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's parameters as keyword arguments of the vendor's class; those it has no word for are left out."""
    most = parameters.get("max_completion_tokens") or parameters.get("max_tokens")
    stop = parameters.get("stop")
    stops = [stop] if isinstance(stop, str) else stop
    if spec.family == "ollama":
        same = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")
        named = _given(num_predict=most, stop=stops, **{name: parameters.get(name) for name in same})
        return {**({"options": named} if named else {}), **_given(format=_ollama_format(parameters))}
    if spec.family == "anthropic":
        given = _given(
            temperature=parameters.get("temperature"), top_p=parameters.get("top_p"), max_tokens=most, stop=stops
        )
        choice = _anthropic_choice(parameters) if parameters.get("tools") else None
        return {**given, **_given(tool_choice=choice, output_config=_anthropic_format(parameters))}
    if spec.family == "huggingface":
        return _given(max_tokens=most, temperature=parameters.get("temperature"))
    return {}


def _ollama_format(parameters: Mapping[str, Any]) -> Any:
    asked = parameters.get("response_format") or {}
    if asked.get("type") == "json_schema":
        return (asked.get("json_schema") or {}).get("schema") or "json"
    return "json" if asked.get("type") == "json_object" else None


def _anthropic_format(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Only of schemas that it takes: a stricter one than asked for would change the answer."""
    asked = parameters.get("response_format") or {}
    schema = (asked.get("json_schema") or {}).get("schema")
    if not isinstance(schema, dict) or schema.get("type") != "object" or not is_strict(schema):
        return None
    return {"format": {"type": "json_schema", "schema": schema}}


def _anthropic_choice(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    asked = parameters.get("tool_choice")
    one_by_one = {"disable_parallel_tool_use": True} if parameters.get("parallel_tool_calls") is False else {}
    if isinstance(asked, dict):
        return {"type": "tool", "name": str((asked.get("function") or {}).get("name")), **one_by_one}
    if asked is None and not one_by_one:
        return None
    kind = _ANTHROPIC_CHOICE.get(str(asked), "auto")
    return {"type": kind, **(one_by_one if kind != "none" else {})}


def _messages(given: list[dict[str, Any]]) -> list[BaseMessage]:
    from langchain_core.messages import convert_to_messages

    try:
        return convert_to_messages([{"content": "", **_present(message)} for message in given])
    except (ValueError, TypeError, KeyError, AttributeError) as wrong:
        raise InvalidInput("messages", f"can't be read: {str(wrong).splitlines()[0][:200]}") from wrong


def _present(message: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if value is not None}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@dataclass(slots=True)
class _Answer:
    """A LangChain answer as OpenAI's chunks. Tool calls wait for the end, as they do in the guard of OpenAI's wire."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{new_id()}")
    created: int = field(default_factory=lambda: int(time.time()))
    _calls: dict[object, dict[str, str]] = field(default_factory=dict)
    _finish: str = "stop"

    def take(self, chunk: AIMessageChunk) -> list[Chunk]:
        """What of the chunk goes out at once."""
        for part in chunk.tool_call_chunks:
            index = part.get("index")
            new = object() if index is None else index
            call = self._calls.setdefault(new, {"id": "", "name": "", "arguments": ""})
            call["id"] = call["id"] or part.get("id") or ""
            call["name"] += part.get("name") or ""
            call["arguments"] += part.get("args") or ""
        if finish := chunk.response_metadata.get("finish_reason"):
            self._finish = str(finish)
        delta: dict[str, Any] = {}
        if text := chunk.text:
            delta["content"] = str(text)
        if thought := chunk.additional_kwargs.get("reasoning_content"):
            delta["reasoning_content"] = str(thought)
        return [self._chunk({"role": "assistant", **delta})] if delta else []

    def finish(self) -> Chunk:
        """The last chunk, with the tool calls there are. Ollama says 'stop' also where it calls tools."""
        calls = [
            {
                "index": n,
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"] or "{}"},
            }
            for n, call in enumerate(self._calls.values())
        ]
        if not calls:
            return self._chunk({}, self._finish)
        return self._chunk({"role": "assistant", "tool_calls": calls}, "tool_calls")

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> Chunk:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
