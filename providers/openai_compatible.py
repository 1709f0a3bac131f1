"""OpenAI and every server that speaks its chat completions: OpenRouter, DeepSeek, Gemini, Moonshot, LM Studio, vLLM,
llama.cpp.

LangChain's class writes the request and reads the chunks; what lies between them, its client library's parsing of every token,
is our guard (docs/decisions/0003).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr, SecretStr

from providers.meter import Meter, metering
from providers.wire.openai_http import Endpoint

NO_KEY = "not-needed"
"""Sent to servers that ask for no key; the class insists on some text."""
_SAID = AIMessage("")
"""Stands for an answer of which only the text goes out, while LangChain's class writes the request: it looks at every character."""
UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""Instead of the signature of a call that another model made; Google's own word for it."""


class GuardedChatOpenAI(ChatOpenAI):
    """ChatOpenAI whose stream comes through the guard. Asynchronous and streamed only, as we use it.

    `reasoning_content` of the chunks is in their `additional_kwargs`, as is `tool_call_extra_content`, a list beside the tool calls.
    With `echo_reasoning` and `signed_calls` those of the messages go back.
    """

    guarded: ClassVar[bool] = True
    """Whether a guard checks its answers; see providers.stream."""
    clears: ClassVar[bool] = True
    """Whether it waits itself, directly before it sends, until it may."""
    _endpoint: Endpoint = PrivateAttr()
    _echo_reasoning: bool = PrivateAttr(False)
    _signed_calls: bool = PrivateAttr(False)
    _output_limit: str = PrivateAttr("max_tokens")

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        body = self._get_request_payload(
            [_SAID if _is_plain(message) else message for message in messages],
            stop=stop,
            stream_options={"include_usage": True},
            **kwargs,
        )
        _return_said(messages, body["messages"])
        if (most := body.pop("max_completion_tokens", None)) is not None:
            body[self._output_limit] = most
        if self._echo_reasoning:
            _return_reasoning(messages, body["messages"])
        if self._signed_calls:
            _return_signatures(self._endpoint.provider, messages, body["messages"])
        meter = metering.get() or Meter(0)
        async with aclosing(self._endpoint.stream(body, meter)) as chunks:
            async for chunk in chunks:
                generation = self._convert_chunk_to_generation_chunk(chunk, AIMessageChunk, None)
                if generation is not None:
                    _add_extras(chunk, generation)
                    yield generation


def build(
    endpoint: Endpoint,
    *,
    model: str,
    echo_reasoning: bool,
    signed_calls: bool = False,
    output_limit: str = "max_tokens",
    effort: str | None = None,
) -> GuardedChatOpenAI:
    """The chat model at an endpoint. One attempt a call: the retry loop is ours."""
    chat = GuardedChatOpenAI(
        model=model,
        base_url=endpoint.base_url,
        api_key=SecretStr(endpoint.api_key or NO_KEY),
        max_retries=0,
        use_responses_api=False,
        reasoning_effort=effort,
    )
    chat._endpoint = endpoint
    chat._echo_reasoning = echo_reasoning
    chat._signed_calls = signed_calls
    chat._output_limit = output_limit
    return chat


def _add_extras(chunk: dict[str, Any], generation: ChatGenerationChunk) -> None:
    """What LangChain's class leaves out. The guard lets all tool calls out in one chunk."""
    choices = chunk.get("choices")
    delta = choices[0]["delta"] if choices else {}
    if thought := delta.get("reasoning_content"):
        generation.message.additional_kwargs["reasoning_content"] = thought
    extras = [call.get("extra_content") for call in delta.get("tool_calls") or ()]
    if any(extras):
        generation.message.additional_kwargs["tool_call_extra_content"] = extras


def _is_plain(message: BaseMessage) -> bool:
    """Whether it is an answer with nothing but its text."""
    return (
        type(message) is AIMessage
        and isinstance(message.content, str)
        and not (message.name or message.tool_calls or message.invalid_tool_calls or message.additional_kwargs)
    )


def _return_said(messages: list[BaseMessage], wire: list[dict[str, Any]]) -> None:
    for message, written in zip(messages, wire, strict=True):
        if _is_plain(message):
            written["content"] = message.content


def _return_reasoning(messages: list[BaseMessage], wire: list[dict[str, Any]]) -> None:
    for message, written in zip(messages, wire, strict=True):
        if isinstance(message, AIMessage) and message.tool_calls:
            thought = message.additional_kwargs.get("reasoning_content")
            if thought:
                written["reasoning_content"] = thought


def _return_signatures(provider: str, messages: list[BaseMessage], wire: list[dict[str, Any]]) -> None:
    for message, written in zip(messages, wire, strict=True):
        if not isinstance(message, AIMessage) or not written.get("tool_calls"):
            continue
        own = message.response_metadata.get("provider") == provider
        extras = message.additional_kwargs.get("tool_call_extra_content") if own else None
        calls = written["tool_calls"]
        for call, extra in zip(calls, extras or [None] * len(calls), strict=True):
            call["extra_content"] = extra or UNSIGNED
