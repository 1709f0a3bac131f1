"""What happened when a case was played: plain values that are judged, shown and stored."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import asdict, dataclass
from typing import Any

_SPACE = re.compile(r"\s+")
_FOLDS = {ord(char): '"' for char in "«»„“”‟"} | {ord(char): "-" for char in "‐‑‒–—―−"} | {ord("ё"): "е", ord("'"): '"'}


def fold(text: str) -> str:
    """For comparing: lower case, one space for white space, one form of quotation marks, dashes and ё."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).translate(_FOLDS).lower()).strip()


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (not included) of a document. `document` is its file's name, None where unknown."""

    document: str | None
    start: int
    end: int

    def overlaps(self, other: Span) -> bool:
        """At least half of the shorter one is common to both."""
        if self.document is None or self.document != other.document:
            return False
        common = min(self.end, other.end) - max(self.start, other.start)
        return common > 0 and 2 * common >= min(self.end - self.start, other.end - other.start)


@dataclass(frozen=True, slots=True)
class Citation:
    """A citation of an answer. `verbatim`: the quote is what stands in the document at that place."""

    span: Span
    quote: str
    verbatim: bool
    title: str = ""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool by an agent and what came back. `status` is `success`, `error`, or None where nothing did."""

    agent: str
    name: str
    arguments: dict[str, Any]
    status: str | None = None
    result: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A step and its outcome: an answer, or the status and body of a bare request."""

    organization: str
    user: str
    thread: str
    asked: str
    answer: str = ""
    stop_reason: str | None = None
    citations: tuple[Citation, ...] = ()
    calls: tuple[ToolUse, ...] = ()
    models: tuple[str, ...] = ()
    http_status: int | None = None
    allowed: tuple[int, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    seen: str = ""
    """Everything that the asker could read, as one text."""

    @property
    def handed_to(self) -> frozenset[str]:
        """The specialists the supervisor handed a task to."""
        switches = [call for call in self.calls if call.name == "switch_to_subagent"]
        return frozenset(str(call.arguments.get("agent")) for call in switches)


@dataclass(frozen=True, slots=True)
class Conversation:
    """All steps of a case. `gold` are the places of the quotes to cite; `notes` the organisation's notes afterwards;
    `exposed` whether injected words were found in the material of the last question (None: not looked for)."""

    exchanges: tuple[Exchange, ...] = ()
    gold: tuple[Span, ...] = ()
    notes: tuple[str, ...] = ()
    exposed: bool | None = None
    skipped: str | None = None
    model: str = ""
    """The model that was asked for, `provider/model`."""
    hindrances: tuple[str, ...] = ()
    """What kept the case from being played as it is written."""

    @property
    def substitutes(self) -> tuple[str, ...]:
        """Other models than the one asked for that took part."""
        others = [model for exchange in self.exchanges for model in exchange.models if model != self.model]
        return tuple(dict.fromkeys(others)) if self.model else ()

    @property
    def last(self) -> Exchange | None:
        """The last question."""
        return next((one for one in reversed(self.exchanges) if one.http_status is None), None)

    def as_json(self) -> dict[str, Any]:
        """Without `seen`, which repeats the rest."""
        shown = asdict(self)
        for exchange in shown["exchanges"]:
            del exchange["seen"]
        return shown
