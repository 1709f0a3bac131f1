"""One model call through its candidates: reserve, stream, filter citations, settle; the next candidate where one fails early.

`RoutedModel` gives it the face of a LangChain chat model, so that LangGraph streams its tokens and a tracer sees one model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import ConfigDict

from domain.errors import NoProvider, ProviderError, ProviderRejected, Unsupported
from domain.ids import ThreadId
from domain.knowledge import Source
from domain.usage import Usage, estimate_tokens
from nodes.runtime import RunContext, Services
from nodes.state import Candidate
from providers.stream import repair_messages, stream_chat
from retrieval.cite import CitationFilter

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Call:
    """One call. After the stream `stripped` counts the citation markers that were held back."""

    services: Services
    run: RunContext
    agent: str
    thread_id: ThreadId
    candidates: Sequence[Candidate]
    tools: list[dict[str, Any]]
    sources: list[Source]
    stripped: int = 0
    failures: list[ProviderError] = field(default_factory=list)

    async def stream(self, messages: Sequence[BaseMessage]) -> AsyncIterator[AIMessageChunk]:
        """The chunks of the first candidate that answers.

        Raises QuotaExceeded before anything is sent, the last ProviderError where every candidate failed, and a ProviderError
        at once where one fails after its first token.
        """
        for candidate in self.candidates:
            begun = False
            try:
                async for chunk in self._attempt(candidate, messages):
                    begun = True
                    yield chunk
            except ProviderError as failed:
                log.warning("provider failed", provider=failed.provider, error_code=failed.code, error=failed.message)
                self.failures.append(failed)
                if begun or (isinstance(failed, ProviderRejected) and self._is_explicit(candidate)):
                    raise
                continue
            return
        if self.failures:
            raise self.failures[-1]
        raise NoProvider("No provider is configured for this call; set a key or an address, see .env.example.")

    def _is_explicit(self, candidate: Candidate) -> bool:
        """Whether the request asked for just this provider, in which case its refusal is the answer."""
        return bool(self.run.provider or self.run.model) and candidate is self.candidates[0]

    async def _attempt(self, candidate: Candidate, messages: Sequence[BaseMessage]) -> AsyncIterator[AIMessageChunk]:
        model = self.services.providers.chat(candidate["provider"], candidate["model"])
        prompt = repair_messages(messages)
        prompt_tokens = sum(estimate_tokens(message.text) for message in prompt)
        reservation = await self.services.quota.reserve(
            self.run.organization_id,
            prompt_tokens + self.services.reserve_output_tokens,
            run_id=self.run.run_id,
            thread_id=self.thread_id,
            user_id=self.run.user_id,
            agent=self.agent,
            provider=candidate["provider"],
            model=candidate["model"],
            trace_id=self.run.trace_id,
        )
        meter = _Meter(prompt_tokens)
        shown = CitationFilter(self.sources)
        try:
            async for chunk in stream_chat(
                model,
                candidate["provider"],
                prompt,
                tools=self.tools or None,
                known_tools={tool["function"]["name"] for tool in self.tools},
            ):
                meter.read(chunk)
                if (visible := _visible(chunk, shown)) is not None:
                    yield visible
                    # A fast upstream fills the buffer, and reading it never waits: let the chunk go out first.
                    await asyncio.sleep(0)
            if rest := shown.flush():
                yield AIMessageChunk(content=rest)
            self.stripped += shown.stripped
        finally:
            # also when cancelled: what was streamed was spent
            await asyncio.shield(self.services.quota.commit(reservation, meter.usage()))


class _Meter:
    """What a stream used: the provider's own count, else an estimate of the prompt and of all that was generated."""

    def __init__(self, prompt_tokens: int) -> None:
        self._prompt = prompt_tokens
        self._generated = 0
        self._begun = False
        self._reported: Usage | None = None

    def read(self, chunk: AIMessageChunk) -> None:
        self._begun = True
        self._generated += estimate_tokens(chunk.text) if chunk.content else 0
        for call in chunk.tool_call_chunks:
            self._generated += estimate_tokens(call["args"] or "")
        if chunk.usage_metadata is not None:
            reported = chunk.usage_metadata
            usage = Usage(reported["input_tokens"], reported["output_tokens"], "provider")
            self._reported = usage if self._reported is None else self._reported + usage

    def usage(self) -> Usage:
        if self._reported is not None:
            return self._reported
        return Usage(self._prompt if self._begun else 0, self._generated, "estimated")


def _visible(chunk: AIMessageChunk, shown: CitationFilter) -> AIMessageChunk | None:
    """The chunk as the reader may see it; None where nothing of it is left."""
    if not isinstance(chunk.content, str):
        chunk = chunk.model_copy(update={"content": chunk.text})
    if chunk.content:
        chunk = chunk.model_copy(update={"content": shown.feed(str(chunk.content))})
    carries = (
        chunk.content
        or chunk.tool_call_chunks
        or chunk.usage_metadata
        or chunk.response_metadata
        or chunk.additional_kwargs
    )
    return chunk if carries else None


class RoutedModel(BaseChatModel):
    """The call as a chat model. Asynchronous only."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    call: Any
    """A Call; a dataclass field would be copied by pydantic."""

    @property
    def _llm_type(self) -> str:
        return "consilium"

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in self.call.stream(messages):
            yield ChatGenerationChunk(message=chunk)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise Unsupported("models are called asynchronously only")
