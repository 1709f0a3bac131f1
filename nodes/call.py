"""A model call of an agent: the router's candidates through the caller, its citations filtered as they stream.

`RoutedModel` gives it the face of a LangChain chat model, so that LangGraph streams its tokens and a tracer sees one model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langgraph.config import get_stream_writer
from pydantic import ConfigDict, Field

from domain.calls import Purpose
from domain.errors import Unsupported
from domain.ids import ThreadId, new_id
from domain.knowledge import Source
from nodes.budget import Parts
from nodes.fitted import FittedRoute, Fitting
from nodes.runtime import RunContext, Services
from providers.call import Need, Origin, Retraction
from providers.meter import Meter
from providers.route import Candidate, Route
from providers.sampling import Sampling
from providers.stream import stream_chat
from providers.structured import JsonOutput
from retrieval.cite import CitationFilter

FIRST_HOPS = 5
"""Tasks a chunk passes on its way to the reader: LangGraph's stream, the run's log, the response."""


@dataclass(slots=True)
class Call:
    """One call, of at most `seconds`. After the stream `stripped` counts the citation markers that were held back."""

    services: Services
    run: RunContext
    agent: str
    thread_id: ThreadId | None
    route: Route
    tools: list[dict[str, Any]]
    sources: list[Source] | None
    """What may be cited; None where markers are no citations."""
    seconds: float
    purpose: Purpose = "answer"
    output: JsonOutput | None = None
    """The answer is to be JSON: it goes out as it is, without the citation filter."""
    sampling: Sampling | None = None
    parts: Parts | None = None
    """What the prompt is made of, to be trimmed to what each model takes. None: the messages go out whole, or not at all."""
    stripped: int = 0
    answered: Candidate | None = None
    """Whose answer it is, after the stream."""
    fitted: FittedRoute | None = field(default=None, init=False)
    """The route and the prompts once they are known."""

    async def fit(self, messages: Sequence[BaseMessage] = ()) -> list[BaseMessage]:
        """Bring the prompt to what each model takes: `parts`, or else `messages`. The first candidate's, empty where there is none.

        Raises TooLarge where it can't be done.
        """
        self.fitted = await self.fitting().route(self.route, self.parts or messages)
        return list(self.fitted.first().messages) if self.fitted.route.candidates else []

    def fitting(self) -> Fitting:
        """What decides over the length of the prompt."""
        ceiling = self.sampling.max_output_tokens if self.sampling else None
        return Fitting(
            specs={spec.name: spec for spec in self.services.catalogue.providers},
            max_prompt_tokens=self.services.limits.max_prompt_tokens,
            answer_tokens=ceiling or self.services.caller.output_tokens,
            tools=self.tools,
            output=self.output,
        )

    async def stream(self, messages: Sequence[BaseMessage]) -> AsyncIterator[AIMessageChunk | Retraction]:
        """The chunks of the candidate that answers; a Retraction voids those before it. `messages` are the prompt where there are no
        parts. Raises TooLarge, and as `Caller.stream`."""
        if self.fitted is None:
            await self.fit(messages)
        fitted = self.fitted
        assert fitted is not None, "just made"
        origin = Origin(
            organization_id=self.run.organization_id,
            user_id=self.run.user_id,
            agent=self.agent,
            purpose=self.purpose,
            run_id=self.run.run_id,
            thread_id=self.thread_id,
            trace_id=self.run.trace_id,
        )
        ceiling = self.sampling.max_output_tokens if self.sampling else None
        tokens = {key: prompt.tokens for key, prompt in fitted.prompts.items()}
        need = Need(max(tokens.values(), default=0), ceiling, tokens)

        def attempt(candidate: Candidate, meter: Meter) -> AsyncGenerator[AIMessageChunk, None]:
            return self._attempt(fitted.of(candidate).messages, candidate, meter)

        async with aclosing(
            self.services.caller.stream(origin, fitted.route, need, attempt, seconds=self.seconds, prepares=True)
        ) as pieces:
            async for piece in pieces:
                yield piece

    async def _attempt(
        self, prompt: list[BaseMessage], candidate: Candidate, meter: Meter
    ) -> AsyncGenerator[AIMessageChunk, None]:
        self.answered = candidate
        spec = self.services.catalogue.provider(candidate.provider)
        assert spec is not None, "candidates are of the catalogue"
        options = self.sampling.options(spec.family) if self.sampling else {}
        if self.output is not None:
            prompt, native = self.output.for_model(spec, candidate.model, prompt, tools=bool(self.tools))
            options |= native
        shown = CitationFilter(self.sources) if self.output is None and self.sources is not None else None
        async with aclosing(
            stream_chat(
                self.services.providers.chat(candidate.provider, candidate.model, effort=self.route.reasoning_effort),
                candidate.provider,
                prompt,
                tools=self.tools or None,
                known_tools={tool["function"]["name"] for tool in self.tools},
                meter=meter,
                options=options,
            )  # type: ignore[type-var]
        ) as chunks:
            hops = FIRST_HOPS
            async for chunk in chunks:
                if (visible := _visible(chunk, shown)) is not None:
                    meter.shown(visible.text)
                    yield visible
                    # A fast upstream fills the buffer, and reading it never waits: let the chunk go out first.
                    for _ in range(hops):
                        await asyncio.sleep(0)
                    hops = 1
        if shown is not None:
            if rest := shown.flush():
                yield AIMessageChunk(content=rest)
            self.stripped = shown.stripped


def _visible(chunk: AIMessageChunk, shown: CitationFilter | None) -> AIMessageChunk | None:
    """The chunk as the reader may see it; None where nothing of it is left."""
    if not isinstance(chunk.content, str):
        chunk = chunk.model_copy(update={"content": chunk.text})
    if chunk.content and shown is not None:
        chunk = chunk.model_copy(update={"content": shown.feed(str(chunk.content))})
    carries = (
        chunk.content
        or chunk.tool_call_chunks
        or chunk.usage_metadata
        or chunk.response_metadata
        or chunk.additional_kwargs
    )
    return chunk if carries else None


def _message_id() -> str:
    return f"run--{new_id()}"


class RoutedModel(BaseChatModel):
    """The call as a chat model. Asynchronous only. After a retraction the chunks carry another id: a new message begins."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    call: Any = Field(repr=False)
    """A Call; a dataclass field would be copied by pydantic."""

    @property
    def _llm_type(self) -> str:
        return "consilium"

    @cached_property
    def _serialized(self) -> dict[str, Any]:
        """What a tracer is told of the model: its name. The call is no part of it."""
        return {"lc": 1, "type": "not_implemented", "id": self.lc_id(), "repr": None, "name": self.get_name()}

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        message_id = _message_id()
        async for piece in self.call.stream(messages):
            if isinstance(piece, Retraction):
                self._announce(piece, message_id)
                message_id = _message_id()
                continue
            piece.id = message_id
            yield ChatGenerationChunk(message=piece)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", id=message_id, chunk_position="last"))

    def _announce(self, retraction: Retraction, message_id: str) -> None:
        get_stream_writer()(
            {
                "type": "retraction",
                "agent": self.call.agent,
                "message_id": message_id,
                "provider": retraction.provider,
                "model": retraction.model,
                "error_code": retraction.error_code,
                "reason": retraction.reason,
                "chars": retraction.chars,
            }
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise Unsupported("models are called asynchronously only")
