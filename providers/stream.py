"""One stream validator for every provider: neither client library notices a stream that was cut off.

A stream counts only with a terminal finish reason. A tool call is let through as complete only if its name is one of
those offered, its id is not empty and its raw arguments are strict JSON. Silence is bounded; keep-alives are silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from contextvars import Token
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from domain.errors import ProviderProtocolError, ProviderUnavailable
from providers.failures import translate
from providers.history import repair_messages
from providers.meter import Meter, metering
from providers.wire.arguments import is_object

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk

__all__ = ["model_name", "repair_messages", "stream_chat"]

FIRST_TOKEN_SECONDS = 60.0
BETWEEN_TOKENS_SECONDS = 30.0


async def stream_chat(
    model: BaseChatModel,
    provider: str,
    messages: Sequence[BaseMessage],
    *,
    tools: Sequence[dict[str, Any]] | None,
    known_tools: set[str],
    meter: Meter | None = None,
    options: Mapping[str, Any] | None = None,
    first_token_seconds: float = FIRST_TOKEN_SECONDS,
    between_tokens_seconds: float = BETWEEN_TOKENS_SECONDS,
) -> AsyncIterator[AIMessageChunk]:
    """The model's answer, chunk by chunk, as it arrives; complete and valid if the iteration ends without an error.

    Chunks carry no id; the last ones carry `response_metadata.finish_reason` (OpenAI's words, for every provider) and
    `usage_metadata` where the provider reports it. Chunks already yielded are to be retracted where an error follows.
    `tools` are in OpenAI's format; `options` are further keyword arguments of the vendor's class. No LangChain callbacks run
    here: the node's own model is the one that is traced. `meter` learns what the attempt uses.

    A model behind a guard (providers.wire) is validated there, with its provider's deadlines; the seconds given here are for the
    others. Raises ProviderUnavailable, ProviderRateLimited, ProviderRejected, ProviderProtocolError.
    """
    meter = meter or Meter(0)
    if not getattr(model, "clears", False):
        await meter.cleared()
    token = metering.set(meter)
    try:
        bound = {**_bound(model, tools), **(options or {})}
        source = model._astream(list(messages), **bound)
        if getattr(model, "guarded", False):
            chunks = _guarded(model, provider, source)
        else:
            chunks = _checked(model, provider, source, known_tools, meter, first_token_seconds, between_tokens_seconds)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    finally:
        _reset(token)


def _reset(token: Token[Meter | None]) -> None:
    """Where the generator is closed from another task the variable was that one's own anyway."""
    with suppress(ValueError):
        metering.reset(token)


async def _guarded(
    model: BaseChatModel, provider: str, source: AsyncIterator[ChatGenerationChunk]
) -> AsyncGenerator[AIMessageChunk, None]:
    try:
        async with aclosing(source):  # type: ignore[type-var]
            async for generation in source:
                yield _chunk(generation, provider)
    except Exception as failure:
        ours = translate(failure, provider, model_name(model))
        if ours is None or ours is failure:
            raise
        raise ours from failure


async def _checked(
    model: BaseChatModel,
    provider: str,
    source: AsyncIterator[ChatGenerationChunk],
    known_tools: set[str],
    meter: Meter,
    first_token_seconds: float,
    between_tokens_seconds: float,
) -> AsyncGenerator[AIMessageChunk, None]:
    name = model_name(model)
    check = _Check(provider, known_tools)
    loop = asyncio.get_running_loop()
    limit = first_token_seconds
    deadline = loop.time() + limit
    async with aclosing(source):  # type: ignore[type-var]
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    generation = await anext(source)
            except StopAsyncIteration:
                break
            except TimeoutError as stalled:
                if loop.time() < deadline:
                    raise translate(stalled, provider, name) or stalled from stalled
                what = "no token" if limit == first_token_seconds and not check.progress else "no further token"
                raise ProviderUnavailable(provider, f"sent {what} for {limit:g} s", reason="stalled") from None
            except Exception as failure:
                ours = translate(failure, provider, name)
                if ours is None or ours is failure:
                    raise
                raise ours from failure
            chunk = _chunk(generation, provider)
            progressed = check.take(chunk)
            meter.read(chunk)
            yield chunk
            if progressed:
                limit = between_tokens_seconds
                deadline = loop.time() + limit
    check.end()


def model_name(model: BaseChatModel) -> str:
    """The vendor's name of the model an object calls."""
    for attribute in ("model_name", "model"):
        value = getattr(model, attribute, None)
        if isinstance(value, str):
            return value
    return type(model).__name__


def _bound(model: BaseChatModel, tools: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """The keyword arguments with which the vendor's class passes tools on."""
    if not tools:
        return {}
    from langchain_core.runnables import RunnableBinding

    binding = model.bind_tools(list(tools))
    assert isinstance(binding, RunnableBinding)
    return dict(binding.kwargs)


def _chunk(generation: ChatGenerationChunk, provider: str) -> AIMessageChunk:
    """The message of a generation, with the finish reason where LangChain's own `astream` would put it."""
    from langchain_core.messages import AIMessageChunk

    message = generation.message
    if not isinstance(message, AIMessageChunk):
        raise ProviderProtocolError(provider, "answered in another role than the assistant's", reason="role")
    info = generation.generation_info
    if info:
        message.response_metadata = {**info, **message.response_metadata}
    told = message.response_metadata
    if told.get("done") is True:  # Ollama, which says 'stop' also where it calls tools
        told["finish_reason"] = told.get("done_reason") or "stop"
    elif "stop_reason" in told and "finish_reason" not in told:  # Anthropic; the name is ours for how a turn ended
        reason = str(told.pop("stop_reason"))
        told["finish_reason"] = _FINISH.get(reason, reason)
    return message


_FINISH = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls", "max_tokens": "length",
           "refusal": "content_filter"}  # fmt: skip


@dataclass
class _Call:
    name: str = ""
    id: str = ""
    arguments: list[str] = field(default_factory=list)


class _Check:
    """What has been seen of one stream."""

    def __init__(self, provider: str, known_tools: set[str]) -> None:
        self.provider = provider
        self.known_tools = known_tools
        self.finish: str | None = None
        self.progress = False
        self._text = False
        self._calls: dict[object, _Call] = {}

    def take(self, chunk: AIMessageChunk) -> bool:
        """Note a chunk; True where it moved the answer on. Calls are checked before the finishing chunk goes out."""
        parts = chunk.tool_call_chunks
        for part in parts:
            index = part.get("index")
            call = self._calls.setdefault(len(self._calls) + 1_000_000 if index is None else index, _Call())
            call.name += part.get("name") or ""
            call.id += part.get("id") or ""
            if part.get("args"):
                call.arguments.append(part["args"] or "")
        finish = chunk.response_metadata.get("finish_reason") if chunk.response_metadata else None
        if finish:
            self.finish = str(finish)
            self._check_calls()
        moved = bool(chunk.content or parts or finish or chunk.usage_metadata) or bool(
            chunk.additional_kwargs and any(chunk.additional_kwargs.values())
        )
        self.progress = self.progress or moved
        self._text = self._text or bool(chunk.content)
        return moved

    def end(self) -> None:
        """The stream is over. Raises ProviderProtocolError where it was cut off."""
        if self.finish is None:
            raise self._broken("the stream ended without a finish reason", "no_finish")
        if not self._calls and not self._text and self.finish == "stop":
            # Also what is left of tool calls sent without an index, which langchain-openai drops.
            raise self._broken("the stream finished without a word", "empty")
        self._check_calls()

    def _check_calls(self) -> None:
        if self.finish == "tool_calls" and not self._calls:
            raise self._broken("the stream announced tool calls and sent none", "no_tool_call")
        seen: set[str] = set()
        for call in self._calls.values():
            if not call.name or call.name not in self.known_tools:
                raise self._broken(f"called the tool '{call.name[:80]}', which was not offered", "unknown_tool")
            if not call.id:
                raise self._broken(f"called '{call.name}' without an id", "no_tool_call_id")
            if call.id in seen:
                raise self._broken(f"called '{call.name}' with an id it had used already", "repeated_tool_call_id")
            seen.add(call.id)
            if not is_object("".join(call.arguments)):
                raise self._broken(f"the arguments of its call of '{call.name}' are not a JSON object", "bad_arguments")

    def _broken(self, what: str, reason: str) -> ProviderProtocolError:
        return ProviderProtocolError(self.provider, what, reason=reason, finish_reason=self.finish)
