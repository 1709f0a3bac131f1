"""What one attempt used: the provider's own count, else a count of our own of the prompt and of all that was generated."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from domain.usage import Usage
from providers.leave import Leave

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk


@dataclass(slots=True)
class Meter:
    """Of one attempt. `prompt_tokens` is our own count of the prompt. Times are of `time.perf_counter`."""

    prompt_tokens: int
    leave: Leave | None = field(default=None, repr=False)
    """To send; None where there is nothing to wait for."""
    created: float = field(default_factory=time.perf_counter)
    first_at: float | None = None
    """When the first of the answer came: text, reasoning or a tool call."""
    begun: bool = False
    """Whether the prompt is spent: the provider took the request on, or was sent it and has not said that it didn't."""
    finish_reason: str | None = None
    shown_chars: int = 0
    """Of text that was passed on to a reader."""
    _bytes: int = 0
    _reported: Usage | None = None

    async def cleared(self) -> None:
        """Wait until the request may be sent. Whoever sends one waits here directly before. Raises what refused it."""
        if self.leave is not None:
            await self.leave.wait()

    def elapsed(self) -> float:
        """Seconds since the request could be sent, 0 before."""
        return 0.0 if self._since is None else time.perf_counter() - self._since

    @property
    def _since(self) -> float | None:
        return self.created if self.leave is None else self.leave.given_at

    def accepted(self) -> None:
        """The request is with the provider: whatever comes, it may have read the prompt."""
        self.begun = True

    def refused(self) -> None:
        """The provider said that it did nothing of it."""
        self.begun = False

    def received(self, text: str) -> None:
        """The provider generated `text`: of the answer, of its reasoning, of a tool call."""
        self.begun = True
        if text:
            self.first_at = self.first_at or time.perf_counter()
            self._bytes += len(text.encode("utf-8", "replace"))

    def shown(self, text: str) -> None:
        """A reader saw it."""
        self.shown_chars += len(text)

    def reported(self, usage: Usage) -> None:
        """The provider's own count of what it has counted so far: a later one stands for an earlier."""
        self.begun = True
        self._reported = usage

    def read(self, chunk: AIMessageChunk) -> None:
        """Note a chunk of a model that has no wire. Counts that come in parts add up, as LangChain's merging has it."""
        self.received(chunk.text if chunk.content else "")
        for call in chunk.tool_call_chunks:
            self.received(call["args"] or "")
        if thought := chunk.additional_kwargs.get("reasoning_content"):
            self.received(str(thought))
        if chunk.usage_metadata is not None:
            counted = chunk.usage_metadata
            usage = Usage(counted["input_tokens"], counted["output_tokens"], "provider")
            self.reported(usage if self._reported is None else self._reported + usage)
        if finish := chunk.response_metadata.get("finish_reason"):
            self.finish_reason = str(finish)

    def usage(self) -> Usage:
        """What is to be charged. An answer nobody counted is never free."""
        if self._reported is not None:
            return self._reported
        if not self.begun:
            return Usage(0, 0, "estimated")
        return Usage(self.prompt_tokens, -(-self._bytes // 3), "estimated")

    def first_token_ms(self) -> int | None:
        if self.first_at is None or self._since is None:
            return None
        return round((self.first_at - self._since) * 1000)

    def latency_ms(self) -> int:
        return round(self.elapsed() * 1000)


metering: ContextVar[Meter | None] = ContextVar("metering", default=None)
"""The meter of the attempt under way in this task, for the guards below the vendors' classes."""
