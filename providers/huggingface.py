"""Hugging Face models in this process. Needs the extra `consilium[huggingface]`; loaded at the first call, one at a time.

Everything heavy happens in one worker thread: importing torch, loading weights, generating. The event loop only takes the text.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field

from domain.catalogue import Timeouts
from domain.errors import ProviderProtocolError, ProviderRejected, ProviderUnavailable, Unsupported
from domain.usage import Usage
from providers.meter import Meter, metering
from providers.tagged import Kind, TaggedText

if TYPE_CHECKING:
    from providers.huggingface_worker import Asked, LoadedModel, Told

MAX_TOKENS = 1024
"""Of an answer, where the request says nothing."""


class _Left(Exception):
    """Nobody waits for the generation any more."""


@dataclass(slots=True)
class _Job:
    """One generation on its way: the worker puts, the event loop takes. Pieces are (text, tokens so far)."""

    loop: asyncio.AbstractEventLoop
    pieces: asyncio.Queue[tuple[str, int] | Prompted | None] = field(default_factory=asyncio.Queue)
    left: threading.Event = field(default_factory=threading.Event)

    def put(self, piece: tuple[str, int] | Prompted | None) -> None:
        if self.left.is_set():
            raise _Left
        self.loop.call_soon_threadsafe(self.pieces.put_nowait, piece)


@dataclass(frozen=True, slots=True)
class Prompted:
    """The prompt is read: from here on the answer comes."""

    prompt_tokens: int
    thinking: bool


class Host:
    """The models of this process: at most one is loaded, and at most one generation runs. One per process.

    `reserve_mb` of memory stay free when a model is loaded and before each answer.
    """

    def __init__(self, *, reserve_mb: int) -> None:
        self._reserve_mb = reserve_mb
        self._turn = asyncio.Semaphore(1)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="huggingface")
        self._loaded: LoadedModel | None = None
        """The worker's own."""

    async def answer(
        self, provider: str, name: str, asked: Callable[[], Asked], timeouts: Timeouts
    ) -> AsyncGenerator[tuple[str, int] | Prompted | Told, None]:
        """Prompted, then text with the number of tokens so far, then Told. Closing it stops the generation at its next token.

        Raises ProviderUnavailable where it takes longer than `timeouts`, and what loading and generating raise.
        """
        loop = asyncio.get_running_loop()
        ends, limit = loop.time() + timeouts.total, timeouts.first_token
        deadline = loop.time() + limit
        job = _Job(loop)
        await _by(self._turn.acquire(), min(deadline, ends), provider, limit)
        working = loop.run_in_executor(self._worker, self._work, provider, name, asked, job)
        working.add_done_callback(self._done)
        try:
            while True:
                piece = await _by(job.pieces.get(), min(deadline, ends), provider, limit)
                if piece is None:
                    break
                yield piece
                if not isinstance(piece, Prompted):
                    limit = timeouts.between_tokens
                    deadline = loop.time() + limit
            yield await working
        finally:
            job.left.set()

    def _done(self, working: asyncio.Future[Told]) -> None:
        """The next may begin only now: a generation that was left ends a moment later."""
        self._turn.release()
        if not working.cancelled():
            working.exception()  # seen: whoever left doesn't ask for it

    def _work(self, provider: str, name: str, asked: Callable[[], Asked], job: _Job) -> Told:
        """In the worker thread."""
        from providers import huggingface_worker as worker

        try:
            if self._loaded is None or self._loaded.name != name:
                self._loaded = None  # frees its memory first
                self._loaded = worker.load(provider, name, reserve_mb=self._reserve_mb)
            else:
                worker.check_memory(provider, name, 0, worker.free_bytes(self._loaded.model.device), self._reserve_mb)
            model, request = self._loaded, asked()
            prompt = model.prompt(request)
            job.put(Prompted(int(prompt["input_ids"].shape[1]), model.thinks_at_once(prompt)))
            return model.generate(request, prompt, lambda text, tokens: job.put((text, tokens)))
        finally:
            if not job.left.is_set():
                job.loop.call_soon_threadsafe(job.pieces.put_nowait, None)

    async def aclose(self) -> None:
        """Let go of the model. A generation under way ends first."""
        await asyncio.to_thread(self._worker.shutdown, wait=True, cancel_futures=True)
        self._loaded = None


async def _by(what: Any, deadline: float, provider: str, limit: float) -> Any:
    try:
        async with asyncio.timeout_at(deadline):
            return await what
    except TimeoutError:
        raise ProviderUnavailable(provider, f"said nothing for {limit:g} s", reason="stalled") from None


class HuggingFaceChat(BaseChatModel):
    """A model of the host as a LangChain chat model. Asynchronous and streamed only, as we use it.

    Reasoning is in `additional_kwargs.reasoning_content`. Tool calls come whole, with ids of ours, and are checked: no truncated one
    and none of a tool that wasn't offered gets out.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    guarded: ClassVar[bool] = True
    host: Any = Field(repr=False)
    provider: str
    model_name: str
    served: frozenset[str]
    """Names that may be loaded: a request can't make this machine download others."""
    timeouts: Timeouts

    @property
    def _llm_type(self) -> str:
        return "huggingface"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """As any model: tools in OpenAI's format among the call's keyword arguments."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        if self.model_name not in self.served:
            names = ", ".join(sorted(self.served))
            raise ProviderRejected(self.provider, f"serves only {names}; set HUGGINGFACE_MODEL", reason="model")
        meter = metering.get() or Meter(0)
        tools = list(kwargs.get("tools") or ())
        answer = _Answer(self.provider, meter, {tool["function"]["name"] for tool in tools})

        def asked() -> Asked:
            from providers.huggingface_worker import Asked

            most, temperature = kwargs.get("max_tokens") or MAX_TOKENS, kwargs.get("temperature")
            return Asked(_conversation(messages), tools, most, temperature)

        async with aclosing(self.host.answer(self.provider, self.model_name, asked, self.timeouts)) as pieces:
            async for piece in pieces:
                for message in answer.take(piece):
                    yield ChatGenerationChunk(message=message)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise Unsupported("models are called asynchronously only")


class _Answer:
    """What the host tells, as LangChain's chunks and in the meter."""

    def __init__(self, provider: str, meter: Meter, tools: set[str]) -> None:
        self._provider = provider
        self._meter = meter
        self._tools = tools
        self._text = TaggedText(calls=bool(tools))
        self._calls = 0
        self._spoken = False
        self._prompt_tokens = 0

    def take(self, piece: tuple[str, int] | Prompted | Told) -> list[AIMessageChunk]:
        if isinstance(piece, Prompted):
            self._prompt_tokens = piece.prompt_tokens
            self._text.within = "thought" if piece.thinking else "text"
            self._meter.accepted()
            self._meter.reported(Usage(piece.prompt_tokens, 0, "provider"))
            return []
        if isinstance(piece, tuple):
            text, tokens = piece
            self._meter.received(text)
            self._meter.reported(Usage(self._prompt_tokens, tokens, "provider"))
            return self._chunks(self._text.feed(text))
        return [*self._chunks(self._text.end()), self._last(piece)]

    def _chunks(self, parts: list[tuple[Kind, str]]) -> list[AIMessageChunk]:
        chunks: list[AIMessageChunk] = []
        for kind, text in parts:
            if kind == "call":
                chunks.append(self._call(text))
            elif kind == "thought":
                chunks.append(AIMessageChunk(content="", additional_kwargs={"reasoning_content": text}))
            elif said := text if self._spoken else text.lstrip():  # models put lines between their tags
                self._spoken = True
                chunks.append(AIMessageChunk(content=said))
        return chunks

    def _call(self, raw: str) -> AIMessageChunk:
        try:
            call = json.loads(raw)
            name, arguments = call["name"], call.get("arguments", {})
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise self._broken("wrote a tool call that is not one", "bad_arguments") from None
        if name not in self._tools:
            raise self._broken(f"called the tool '{str(name)[:80]}', which was not offered", "unknown_tool")
        if not isinstance(arguments, dict):
            raise self._broken(f"the arguments of its call of '{name}' are not a JSON object", "bad_arguments")
        self._calls += 1
        written = json.dumps(arguments, ensure_ascii=False)
        made = tool_call_chunk(name=name, args=written, id=f"call_{uuid.uuid4().hex}", index=self._calls - 1)
        return AIMessageChunk(content="", tool_call_chunks=[made])

    def _last(self, told: Told) -> AIMessageChunk:
        if self._text.within == "call":
            raise self._broken("ended in the middle of a tool call", "bad_arguments")
        if told.finish == "stop" and not self._calls and not self._spoken:
            raise self._broken("finished without a word", "empty")
        finish = "tool_calls" if self._calls and told.finish == "stop" else told.finish
        self._meter.finish_reason = finish
        self._meter.reported(Usage(told.prompt_tokens, told.completion_tokens, "provider"))
        usage = UsageMetadata(
            input_tokens=told.prompt_tokens,
            output_tokens=told.completion_tokens,
            total_tokens=told.prompt_tokens + told.completion_tokens,
        )
        return AIMessageChunk(
            content="", response_metadata={"finish_reason": finish}, usage_metadata=usage, chunk_position="last"
        )

    def _broken(self, what: str, reason: str) -> ProviderProtocolError:
        return ProviderProtocolError(self._provider, what, reason=reason)


def _conversation(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    """As chat templates take it: text only, arguments of calls as objects."""
    plain: list[dict[str, Any]] = convert_to_openai_messages(messages, text_format="string")
    for message in plain:
        message["content"] = message.get("content") or ""
        for call in message.get("tool_calls") or ():
            call["function"]["arguments"] = json.loads(call["function"]["arguments"] or "{}")
    return plain


def build(host: Host, *, provider: str, model: str, served: frozenset[str], timeouts: Timeouts) -> HuggingFaceChat:
    """The chat model. Nothing is loaded yet."""
    return HuggingFaceChat(host=host, provider=provider, model_name=model, served=served, timeouts=timeouts)
