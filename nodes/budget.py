"""The prompt budget: what of a prompt is kept where not all of it fits. Pure.

The order in which it is given up, each as far as needed before the next is touched:

1. history, the oldest exchange first; the last one stays, and the conversation's summary
2. passages, the lowest-ranked first; those that this turn has already cited stay
3. notes, the least relevant first
4. the middle of this turn's tool results, the longest first, down to LEAST_RESULT tokens each; a mark says so
5. the last exchange of the history
6. whole earlier steps of this turn, the oldest first: a call goes together with its result, the last step stays
7. the summary

The system prompt, the tools, the question, the last step and what is cited are never trimmed: where they alone don't fit, that is
an error that names the longest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from pydantic import ValidationError

from domain.errors import TooLarge
from domain.knowledge import Source
from domain.sources import render_notes, render_sources
from domain.tools import ToolResult

LEAST_RESULT = 200
"""Tokens of a tool result that always remain of a longer one."""
MARK = "\n[… {left_out} characters left out …]\n"

_NAMES = {
    "question": "The question has",
    "tool_calls": "The last tool calls and their results have",
    "instructions": "The agent's instructions have",
    "tools": "The agent's tools have",
    "sources": "The cited sources have",
}
_LARGER = "Choose a model with a larger context, or raise CONSILIUM_LIMITS__MAX_PROMPT_TOKENS."
_REPAIRS = {
    "question": f"Shorten it, or upload the text as a document and ask about it. {_LARGER}",
    "tool_calls": f"Ask for less at once. {_LARGER}",
    "instructions": _LARGER,
    "tools": f"Give the agent fewer tools. {_LARGER}",
    "sources": _LARGER,
}

Count = Callable[[str | BaseMessage], int]
"""Tokens of a text or of a message with what the chat format adds to it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a prompt is made of. `frame` is the system message without what may be trimmed of it."""

    frame: str
    closing: str
    """What the system message ends with, and is never trimmed; may be empty."""
    summary: str | None
    notes: Sequence[str]
    """The most relevant first."""
    passages: Sequence[Source]
    """The best first."""
    history: Sequence[AnyMessage]
    """Of earlier turns, the oldest first."""
    turn: Sequence[AnyMessage]
    """The question, then the calls and results of the turn in progress."""
    cited: frozenset[int] = frozenset()
    """Numbers of passages that the turn in progress cites."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """How much had to go: messages, passages, notes, cut results, steps of the turn; whether the summary did."""

    history: int = 0
    passages: int = 0
    notes: int = 0
    results: int = 0
    steps: int = 0
    summary: bool = False

    def __bool__(self) -> bool:
        return self != Dropped()


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is kept, its tokens by the count that was given, and what was dropped."""

    kept: Parts
    dropped: Dropped
    tokens: int
    said: int
    """Of `tokens`, those of the history and of the turn."""


def fit(parts: Parts, budget_tokens: int, count: Count, *, tools: int = 0) -> Fitted:
    """`parts` within `budget_tokens`, of which `tools` are taken, trimmed in the order of this module.

    Raises TooLarge with `details.limit` and `details.tokens` where what is never trimmed is over the budget by itself;
    `details.part` is the longest of it: question, tool_calls, instructions, tools, sources.
    """
    trim = _Trim(parts, budget_tokens, count, tools)
    for step in (
        trim.history,
        trim.passages,
        trim.notes,
        trim.results,
        trim.last_exchange,
        trim.steps,
        trim.summary,
    ):
        if trim.over <= 0:
            break
        step()
    if trim.over > 0:
        raise trim.too_large()
    return Fitted(trim.parts, trim.dropped, trim.tokens, trim.said)


class _Trim:
    """The course of one fitting."""

    def __init__(self, parts: Parts, budget: int, count: Count, tools: int) -> None:
        self.parts = parts
        self.dropped = Dropped()
        self._count = count
        self._tools = tools
        self._frame = count(parts.frame) + (count(parts.closing) if parts.closing else 0)
        self._notes = [count(render_notes([note])) for note in parts.notes]
        self._passages = [count(render_sources([source])) for source in parts.passages]
        self._history = [count(message) for message in parts.history]
        self._turn = [count(message) for message in parts.turn]
        self._summary = count(parts.summary) if parts.summary else 0
        self.tokens = (
            tools
            + self._frame
            + self._summary
            + sum(self._notes)
            + sum(self._passages)
            + sum(self._history)
            + sum(self._turn)
        )
        self._budget = budget

    @property
    def over(self) -> int:
        return self.tokens - self._budget

    @property
    def said(self) -> int:
        return sum(self._history) + sum(self._turn)

    def too_large(self) -> TooLarge:
        """What is over by itself."""
        lengths = {
            "question": self._turn[0] if self._turn else 0,
            "tool_calls": sum(self._turn[1:]),
            "instructions": self._frame,
            "tools": self._tools,
            "sources": sum(self._passages),
        }
        part = max(lengths, key=lambda name: lengths[name])
        return TooLarge(
            f"{_NAMES[part]} {lengths[part]} tokens, with what always goes with it {self.tokens}; "
            f"a prompt may have {self._budget}. {_REPAIRS[part]}",
            part=part,
            part_tokens=lengths[part],
            limit=self._budget,
            tokens=self.tokens,
            unit="tokens",
        )

    def history(self) -> None:
        """From the oldest on, up to the last question."""
        messages = self.parts.history
        questions = [i for i, message in enumerate(messages) if isinstance(message, HumanMessage)]
        self._forget(questions[-1] if questions else len(messages))

    def last_exchange(self) -> None:
        self._forget(len(self.parts.history))

    def _forget(self, most: int) -> None:
        """At most so many messages; then on to the next question, as an answer without its question says nothing."""
        messages, gone = self.parts.history, 0
        while gone < most and (self.over > 0 or (gone and not isinstance(messages[gone], HumanMessage))):
            self.tokens -= self._history[gone]
            gone += 1
        self.parts = replace(self.parts, history=messages[gone:])
        self._history = self._history[gone:]
        self.dropped = replace(self.dropped, history=self.dropped.history + gone)

    def passages(self) -> None:
        """Rank by rank from the last, except those cited."""
        kept, sizes = list(self.parts.passages), self._passages
        for at in range(len(kept) - 1, -1, -1):
            if self.over <= 0:
                break
            if kept[at].n not in self.parts.cited:
                self.tokens -= sizes.pop(at)
                del kept[at]
        self.dropped = replace(self.dropped, passages=len(self.parts.passages) - len(kept))
        self.parts = replace(self.parts, passages=kept)

    def notes(self) -> None:
        gone = 0
        while self.over > 0 and gone < len(self._notes):
            gone += 1
            self.tokens -= self._notes[-gone]
        self.parts = replace(self.parts, notes=self.parts.notes[: len(self.parts.notes) - gone])
        self.dropped = replace(self.dropped, notes=gone)

    def results(self) -> None:
        """The longest ones share what is over: none is cut below the next shorter one before that one is cut, too."""
        turn = list(self.parts.turn)
        sizes = {
            i: size for i, size in enumerate(self._turn) if isinstance(turn[i], ToolMessage) and size > LEAST_RESULT
        }
        level = _level(list(sizes.values()), self.over)
        cut = 0
        for i, size in sizes.items():
            message = turn[i]
            if size <= level or not isinstance(message, ToolMessage):
                continue
            turn[i] = shorter = self._shorten(message, size, level)
            self._turn[i] = self._count(shorter)
            self.tokens -= size - self._turn[i]
            cut += 1
        self.parts = replace(self.parts, turn=turn)
        self.dropped = replace(self.dropped, results=cut)

    def _shorten(self, message: ToolMessage, size: int, level: int) -> ToolMessage:
        """Cut until the count agrees: characters and tokens don't go in step."""
        keep = len(message.text)
        shorter = message
        while size > level and keep > 16:
            keep = min(int(keep * level / size * 0.97), keep - 16)
            shorter = cut_result(message, max(keep, 0))
            size = self._count(shorter)
        return shorter

    def steps(self) -> None:
        turn, gone = list(self.parts.turn), 0
        while self.over > 0 and (span := _first_step(turn)) is not None:
            start, end = span
            self.tokens -= sum(self._turn[start:end])
            del turn[start:end], self._turn[start:end]
            gone += 1
        self.parts = replace(self.parts, turn=turn)
        self.dropped = replace(self.dropped, steps=gone)

    def summary(self) -> None:
        if self.parts.summary:
            self.tokens -= self._summary
            self.parts = replace(self.parts, summary=None)
            self.dropped = replace(self.dropped, summary=True)


def _level(sizes: list[int], over: int) -> int:
    """The size to which the larger of `sizes` have to be cut for `over` to be saved; at least LEAST_RESULT."""
    sizes = sorted(sizes, reverse=True)
    for n, size in enumerate(sizes, 1):
        following = sizes[n] if n < len(sizes) else LEAST_RESULT
        level = (sum(sizes[:n]) - over) // n
        if level >= following or following == LEAST_RESULT:
            return max(min(level, size), LEAST_RESULT)
    return LEAST_RESULT


def _first_step(turn: Sequence[AnyMessage]) -> tuple[int, int] | None:
    """Where the oldest step lies, calls and results; None where there is no other than the last."""
    starts = [i for i, message in enumerate(turn) if isinstance(message, AIMessage) and message.tool_calls]
    return (starts[0], starts[1]) if len(starts) > 1 else None


def cut_result(message: ToolMessage, keep: int) -> ToolMessage:
    """A tool message whose content has about `keep` characters left, from its beginning and its end."""
    try:
        result = ToolResult.model_validate_json(message.text)
    except ValidationError:  # not one of ours
        return message.model_copy(update={"content": cut_middle(message.text, keep)})
    around = len(message.text) - len(result.content)
    shorter = result.model_copy(update={"content": cut_middle(result.content, keep - around), "truncated": True})
    return message.model_copy(update={"content": shorter.model_dump_json(exclude_none=True)})


def cut_middle(text: str, keep: int) -> str:
    """The beginning and the end of a text, `keep` characters together, around a mark. No source is left half open: what is cut off
    in its middle ends there, and the end of another one isn't shown."""
    if len(text) <= keep:
        return text
    keep = max(keep, 0)
    head, tail = text[: keep - keep // 3], text[len(text) - keep // 3 :]
    if head.rfind("<source") > head.rfind("</source>"):
        complete = "\n" in head[head.rfind("<source") :]
        head = f"{head}\n</source>" if complete else head[: head.rfind("<source")]
    closes, opens = tail.find("</source>"), tail.find("<source ")
    if closes >= 0 and (opens < 0 or closes < opens):
        tail = tail[closes + len("</source>") :]
    return head + MARK.format(left_out=len(text) - keep) + tail
