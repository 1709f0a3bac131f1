"""One streamed answer in the language of a wire: what every dialect has in common.

A dialect says what a frame means; here is what waits to go out, how an answer ends, and what makes a tool call executable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any, ClassVar, Generic, TypeVar

import orjson

from domain.errors import ProviderError, ProviderProtocolError, ProviderRateLimited, ProviderUnavailable
from providers.meter import Meter
from providers.wire.arguments import is_object

Json = dict[str, Any]
T_co = TypeVar("T_co", covariant=True)


class Dialect(ABC, Generic[T_co]):
    """One answer. Deltas of text are merged until they are flushed; tool calls go out whole, if they are.

    `tools` are the names offered. What it takes and gives raises ProviderError for what is not a valid answer.
    """

    LAST: ClassVar[bytes | None] = None
    """A frame that says nothing but that no other comes."""

    def __init__(self, provider: str, model: str, tools: frozenset[str], meter: Meter) -> None:
        self.provider = provider
        self.closed = False
        """Whether nothing more is to come."""
        self._model = model
        self._tools = tools
        self._meter = meter
        self._ids: set[str] = set()
        """Of the tool calls so far."""
        self._spoken = False
        self._finish: str | None = None
        self._out: list[tuple[Hashable, Any]] = []
        """What waits, in order: (what the text is of, its parts), or (None, a frame as it goes out)."""

    @property
    def held(self) -> bool:
        """Whether something waits to go out."""
        return bool(self._out)

    @property
    def finished(self) -> bool:
        """Whether the upstream has said how the answer ended."""
        return self._finish is not None

    def take(self, frame: bytes) -> bool:
        """Note a frame; True where it moved the answer on. Keep-alives don't."""
        if frame == self.LAST:
            self.closed = True
            return False
        try:
            told = orjson.loads(frame)
        except orjson.JSONDecodeError:
            raise self._broken("sent something that is not JSON", "bad_json") from None
        if not isinstance(told, dict):
            raise self._broken("sent something malformed", "malformed")
        try:
            return self._read(told)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError) as odd:
            raise self._broken(f"sent something malformed ({type(odd).__name__})", "malformed") from odd

    def flush(self) -> list[T_co]:
        """What waits, merged."""
        out, self._out = self._out, []
        return [self._written(value if of is None else self._merged(of, "".join(value))) for of, value in out]

    def end(self) -> None:
        """The stream is over. Raises ProviderProtocolError where the answer is not."""
        if self._finish is None:
            raise self._broken("ended its stream without a finish reason", "no_finish")

    # What a dialect says.

    @abstractmethod
    def _read(self, told: Json) -> bool:
        """Note what a frame tells; True where it moved the answer on. What else it raises than a ProviderError is malformed."""

    @abstractmethod
    def _merged(self, of: Any, text: str) -> Json:
        """The frame of a merged text; `of` is what `_say` was told."""

    @abstractmethod
    def _written(self, frame: Json) -> T_co:
        """A frame as it goes out."""

    # What it says it with.

    def _say(self, of: Hashable, text: str) -> None:
        """More of a text, which is merged with what waits of the same directly before it."""
        self._meter.received(text)
        out = self._out
        if out and out[-1][0] == of:
            out[-1][1].append(text)
        else:
            out.append((of, [text]))

    def _pass(self, frame: Json) -> None:
        """Something that isn't merged keeps its place."""
        self._out.append((None, frame))

    def _ends(self, reason: str) -> None:
        """The upstream has said how the answer ended."""
        self._finish = self._meter.finish_reason = reason

    def _offered(self, name: str) -> None:
        if name not in self._tools:
            raise self._broken(f"called the tool '{name[:80]}', which was not offered", "unknown_tool")

    def _identified(self, name: str, identifier: str) -> None:
        if not identifier:
            raise self._broken(f"called '{name}' without an id", "no_tool_call_id")
        if identifier in self._ids:
            raise self._broken(f"called '{name}' with an id it had used already", "repeated_tool_call_id")
        self._ids.add(identifier)

    def _whole_arguments(self, name: str, raw: str) -> str:
        """Of a call that is over; an absent list is the empty object."""
        if not is_object(raw):
            raise self._no_arguments(name)
        return raw or "{}"

    # What is wrong with it.

    def _no_arguments(self, name: str) -> ProviderProtocolError:
        return self._broken(f"sent arguments for '{name}' that are not a JSON object", "bad_arguments")

    def _no_calls(self) -> ProviderProtocolError:
        return self._broken("announced tool calls and sent none", "no_tool_call")

    def _wordless(self) -> ProviderProtocolError:
        return self._broken("finished without a word", "empty")

    def _broken(self, what: str, reason: str) -> ProviderProtocolError:
        return ProviderProtocolError(self.provider, what, reason=reason, finish_reason=self._finish)

    def _too_many_requests(self, text: str) -> ProviderError:
        return ProviderRateLimited(self.provider, f"has too many requests: {text}", retry_after=None)

    def _broke_off(self, text: str) -> ProviderError:
        return ProviderUnavailable(self.provider, f"broke off with an error: {text}", reason="stream_error")
