"""The streaming filter of `[n]` markers: only those that a reader can check get through."""

from __future__ import annotations

import re
from collections.abc import Iterable

from domain.knowledge import Source, SourceCitation
from retrieval.quotes import best_sentence, find_quote, last_sentence, quote_before

_WHOLE = re.compile(r"\[ ?\d{1,3}(?: ?[,;–-] ?\d{1,3})* ?\]")
_BEGUN = re.compile(r"\[ ?(?:\d{1,3}(?: ?[,;–-] ?\d{1,3})*(?: ?[,;–-]? ?))?")
_NUMBERS = re.compile(r"(\d+)(?: ?([–-]) ?(?=\d))?")
_MAX_MARKER = 60
_MAX_RANGE = 20
_LOOK_BACK = 4000
_CLOSES_UP = frozenset('.,;:!?)»”"…]\n\t ')


_PROSE = re.compile(r"(?:[ \t]*[^\s\[`\\>]+)+")
"""Nothing that begins a marker, escapes one, or begins or ends code."""


class CitationFilter:
    """Lets an answer through as it streams, less the markers that don't hold.

    A marker is one to three digits in brackets, or several with commas or a dash: `[3]`, `[1, 2]`, `[1-3]`; it comes
    out as `[1][2]`. One whose number is not in `sources` is dropped. So is one whose quotation (see
    quotes.quote_before) is not in that source; without a quotation it cites the best matching sentence of the source.
    `[2024]` has four digits and is no marker; links `[text](url)`, check boxes, escaped brackets and code are never
    touched.

    Only text from a `[` on (and blanks before it) is ever held back. How the text is cut into deltas changes nothing.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {source.n: source for source in sources}
        self.citations: list[SourceCitation] = []
        self.stripped = 0
        """Markers dropped so far; `[1, 9]` with an unknown 9 counts one."""
        self._emitted: list[str] = []
        self._length = 0
        self._taken = 0
        self._blanks = ""
        self._held = ""
        self._ticks = 0
        self._ticks_open_line = False
        self._line_is_blank = True
        self._fence = 0
        self._inline = 0

    def feed(self, delta: str) -> str:
        """Take the next piece of the answer; returns what can be shown now."""
        at = 0
        while at < len(delta):
            prose = None if self._held or self._ticks else _PROSE.match(delta, at)
            if prose is None:
                self._step(delta[at])
                at += 1
                continue
            self._emit(self._blanks + prose.group())
            self._blanks, self._line_is_blank = "", False
            at = prose.end()
        return self._take()

    def flush(self) -> str:
        """The answer has ended: returns what was held back."""
        if self._held and _WHOLE.fullmatch(self._held):
            self._decide("\n")
        else:
            self._release()
        self._emit(self._blanks)
        self._blanks = ""
        return self._take()

    def _take(self) -> str:
        text = "".join(self._emitted[self._taken :])
        self._taken = len(self._emitted)
        return text

    def _emit(self, text: str) -> None:
        if text:
            self._emitted.append(text)
            self._length += len(text)

    def _step(self, char: str) -> None:
        if self._held.endswith("]"):
            if char == "(":  # a link whose text is a number
                self._release()
            else:
                self._decide(char)
        elif self._held:
            grown = self._held + char
            if len(grown) <= _MAX_MARKER and (_WHOLE if char == "]" else _BEGUN).fullmatch(grown):
                self._held = grown
                return
            self._release()
        self._plain(char)

    def _plain(self, char: str) -> None:
        self._follow_code(char)
        in_code = bool(self._fence or self._inline or self._ticks)
        if char in " \t" and not in_code:
            self._blanks += char
        elif char == "[" and not in_code and not self._escaped():
            self._held = char
        else:
            self._emit(self._blanks + char)
            self._blanks = ""

    def _escaped(self) -> bool:
        return not self._blanks and bool(self._emitted) and self._emitted[-1].endswith("\\")

    def _follow_code(self, char: str) -> None:
        if char == "`":
            if not self._ticks:
                self._ticks_open_line = self._line_is_blank
            self._ticks += 1
            self._line_is_blank = False
            return
        if self._ticks:
            self._end_ticks(self._ticks)
            self._ticks = 0
        if char == "\n":
            self._inline = 0  # an unpaired backtick must not hide the markers of the lines below
            self._line_is_blank = True
        elif char not in " \t>":
            self._line_is_blank = False

    def _end_ticks(self, count: int) -> None:
        if self._fence:
            if self._ticks_open_line and count >= self._fence:
                self._fence = 0
        elif self._inline:
            if count == self._inline:
                self._inline = 0
        elif self._ticks_open_line and count >= 3:
            self._fence = count
        else:
            self._inline = count

    def _release(self) -> None:
        self._emit(self._blanks + self._held if self._held else "")
        if self._held:
            self._blanks = ""
        self._held = ""

    def _decide(self, following: str) -> None:
        """Settle the complete marker in `_held`, knowing the character that comes after it."""
        numbers = _expand(self._held)
        before = "".join(self._emitted[-_LOOK_BACK:])[-_LOOK_BACK:]
        quote = quote_before(before)
        accepted = [(n, span) for n in numbers if (span := self._locate(n, quote, before)) is not None]
        self.stripped += len(numbers) - len(accepted)
        if accepted or following not in _CLOSES_UP:
            self._emit(self._blanks)
        self._blanks = ""
        self._held = ""
        for n, (start, end) in accepted:
            self._cite(self._sources[n], start, end)

    def _locate(self, n: int, quote: str | None, before: str) -> tuple[int, int] | None:
        source = self._sources.get(n)
        if source is None:
            return None
        if quote is not None:
            return find_quote(quote, source.text)
        return best_sentence(last_sentence(before), source.text)

    def _cite(self, source: Source, start: int, end: int) -> None:
        marker = f"[{source.n}]"
        self.citations.append(
            SourceCitation(
                n=source.n,
                document_id=source.document_id,
                version=source.version,
                url=source.url,
                title=source.title,
                page=source.page,
                section=source.section,
                start=source.start + start,
                end=source.start + end,
                quote=source.text[start:end],
                answer_start=self._length,
                answer_end=self._length + len(marker),
            )
        )
        self._emit(marker)


def _expand(marker: str) -> list[int]:
    """The numbers of a marker in order, once each; a range gives what is in it."""
    numbers: list[int] = []
    first: int | None = None
    for found in _NUMBERS.finditer(marker):
        n = int(found[1])
        numbers += range(first, n + 1) if first is not None and first <= n < first + _MAX_RANGE else [n]
        first = n if found[2] else None
    return list(dict.fromkeys(numbers))
