"""Text of models that write their reasoning and their tool calls between tags, told apart as it comes.

Covered is what most open models with a chat template write: <think>...</think>, and <tool_call>{"name": ..., "arguments": {...}}
</tool_call> for each call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "thought", "call"]
_TAGS: dict[str, Kind] = {"<think>": "thought", "<tool_call>": "call"}
_ENDS = {"thought": "</think>", "call": "</tool_call>"}


@dataclass(slots=True)
class TaggedText:
    """Takes text in pieces of any size. Parts of "text" and "thought" go out as they come, a "call" once it is whole.

    `calls` says whether tool calls are expected: where not, their tags are text. `within` is where the text begins: some templates
    have opened the reasoning already.
    """

    calls: bool
    within: Kind = "text"
    _held: str = field(default="", init=False)
    _call: str = field(default="", init=False)

    def feed(self, piece: str) -> list[tuple[Kind, str]]:
        """What can be told of the text so far, in order. A tag's beginning is held back until it is one, or isn't."""
        self._held += piece
        parts: list[tuple[Kind, str]] = []
        while True:
            found = self._next_tag()
            if found is None:
                break
            at, tag = found
            self._let_go(parts, at)
            self._held = self._held[len(tag) :]
            if self.within == "call":
                parts.append(("call", self._call))
                self._call = ""
            self.within = _TAGS.get(tag, "text")
        self._let_go(parts, len(self._held) - self._begun_tag())
        return parts

    def end(self) -> list[tuple[Kind, str]]:
        """What was held back. A call that isn't whole is lost; `within` then says so."""
        parts: list[tuple[Kind, str]] = []
        self._let_go(parts, len(self._held))
        return parts

    def _let_go(self, parts: list[tuple[Kind, str]], length: int) -> None:
        text, self._held = self._held[:length], self._held[length:]
        if self.within == "call":
            self._call += text
        elif text:
            parts.append((self.within, text))

    def _tags(self) -> list[str]:
        """Those that mean something here."""
        if self.within != "text":
            return [_ENDS[self.within]]
        return [tag for tag, kind in _TAGS.items() if kind != "call" or self.calls]

    def _next_tag(self) -> tuple[int, str] | None:
        found = [(at, tag) for tag in self._tags() if (at := self._held.find(tag)) >= 0]
        return min(found, default=None)

    def _begun_tag(self) -> int:
        """How much of the end may be a tag's beginning."""
        lengths = (
            length
            for tag in self._tags()
            for length in range(min(len(tag) - 1, len(self._held)), 0, -1)
            if tag.startswith(self._held[-length:])
        )
        return max(lengths, default=0)
