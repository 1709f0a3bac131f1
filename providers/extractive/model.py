"""The extractive model as a LangChain chat model."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage, message_chunk_to_message
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict

from domain.usage import estimate_tokens
from providers.extractive.decide import CallTools, Decision, Say, decide, own_name_in
from providers.extractive.lexicon import Lexicon, load_lexicon
from providers.extractive.turn import read

NAME = "extractive"
_WORDS = re.compile(r"\s*\S+")
_WORDS_A_CHUNK = 4


class ExtractiveChat(BaseChatModel):
    """Answers from the sources and notes of its prompt, delegates, searches and saves notes by tool calls.
    Deterministic.

    `response_metadata` of the end: `provider` and `model_name` 'extractive', `finish_reason` 'stop' or 'tool_calls',
    and `stop_reason` 'not_found' where it has no answer. Usage is counted locally.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    lexicon: Lexicon
    model_name: str = NAME

    @property
    def _llm_type(self) -> str:
        return NAME

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """As any model: tools in OpenAI's format among the call's keyword arguments."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def decide(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]) -> Decision:
        """The next step, without the wire around it."""
        system = "\n\n".join(message.text for message in messages if isinstance(message, SystemMessage))
        return decide(read(messages, tools), self.lexicon, own_name_in(system))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for message in self._chunks(messages, kwargs.get("tools") or []):
            chunk = _generation(message)
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        # Reading and scoring takes milliseconds of pure CPU: off the event loop.
        chunks = await asyncio.to_thread(lambda: list(self._chunks(messages, kwargs.get("tools") or [])))
        for message in chunks:
            chunk = _generation(message)
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
            await asyncio.sleep(0)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        first, *rest = self._chunks(messages, kwargs.get("tools") or [])
        whole = first
        for chunk in rest:
            whole = whole + chunk
        message = message_chunk_to_message(whole)
        assert isinstance(message, AIMessage)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _chunks(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]) -> Iterator[AIMessageChunk]:
        decision = self.decide(messages, tools)
        match decision:
            case Say(text, found):
                words = _WORDS.findall(text)
                for i in range(0, len(words), _WORDS_A_CHUNK):
                    yield AIMessageChunk(content="".join(words[i : i + _WORDS_A_CHUNK]))
                finish, spent = "stop", estimate_tokens(text)
            case CallTools(calls, found):
                finish, spent = "tool_calls", 0
                for i, call in enumerate(calls):
                    arguments = json.dumps(call.arguments, ensure_ascii=False)
                    spent += estimate_tokens(call.name + arguments)
                    yield AIMessageChunk(
                        content="",
                        tool_call_chunks=[tool_call_chunk(name=call.name, args=arguments, id=call.id, index=i)],
                    )
        prompt = sum(estimate_tokens(message.text) for message in messages)
        metadata = {"provider": NAME, "model_provider": NAME, "model_name": NAME, "finish_reason": finish}
        if not found:
            metadata["stop_reason"] = "not_found"
        yield AIMessageChunk(
            content="",
            response_metadata=metadata,
            usage_metadata=UsageMetadata(input_tokens=prompt, output_tokens=spent, total_tokens=prompt + spent),
            chunk_position="last",
        )


def _generation(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message)


def build(analyse: Callable[[str], list[str]]) -> ExtractiveChat:
    """The model over this analyser, which must be the one the documents were indexed with."""
    return ExtractiveChat(lexicon=load_lexicon(analyse))
