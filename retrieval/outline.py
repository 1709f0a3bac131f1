"""Building a parsed document piece by piece: text, pages, and the path of headings."""

from __future__ import annotations

import unicodedata

from domain.errors import DocumentUnreadable
from domain.knowledge import ParsedDocument, Span
from domain.text import clean

MAX_TEXT_CHARACTERS = 10_000_000
_MAX_HEADING = 120
_MAX_SECTION = 300
SEPARATOR = " › "


class Outline:
    """Collects text in order. A new page or heading starts a new span; a heading's own line belongs to its span.

    Raises DocumentUnreadable once the text is over MAX_TEXT_CHARACTERS.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._spans: list[Span] = []
        self._start = 0
        self._page: int | None = None
        self._headings: list[tuple[int, str]] = []

    @property
    def is_empty(self) -> bool:
        """True while no text has been added."""
        return self._length == 0

    def page(self, number: int) -> None:
        """Text from here on is on page `number` (1-based)."""
        self._close()
        self._page = number

    def heading(self, level: int, title: str) -> None:
        """Text from here on stands under this heading; level 1 is the outermost."""
        self._close()
        title = " ".join(clean(title).split())[:_MAX_HEADING]
        self._headings = [kept for kept in self._headings if kept[0] < level]
        if title:
            self._headings.append((level, title))

    def text(self, text: str) -> None:
        """Add text as it stands (line ends included)."""
        # Composed letters: a PDF often has й as two characters, which no query would.
        text = unicodedata.normalize("NFC", clean(text))
        self._length += len(text)
        if self._length > MAX_TEXT_CHARACTERS:
            raise DocumentUnreadable(
                "too_large",
                f"The document holds more than {MAX_TEXT_CHARACTERS} characters of text; split it into several.",
                limit=MAX_TEXT_CHARACTERS,
            )
        self._parts.append(text)

    def finish(self, pages: int | None = None) -> ParsedDocument:
        """The document. Raises DocumentUnreadable where it has no text."""
        self._close()
        text = "".join(self._parts)
        if not text.strip():
            if pages is None:
                raise DocumentUnreadable("empty", "The file is empty.")
            raise DocumentUnreadable("no_text", "The file has no text layer (a scan?); run it through OCR first.")
        return ParsedDocument(text, tuple(self._spans), pages)

    def _close(self) -> None:
        if self._length > self._start:
            path = SEPARATOR.join(title for _, title in self._headings)[:_MAX_SECTION]
            self._spans.append(Span(self._start, self._length, self._page, path or None))
        self._start = self._length
