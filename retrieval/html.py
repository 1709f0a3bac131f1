"""HTML: the visible text in reading order, headings as sections."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from domain.knowledge import ParsedDocument
from retrieval.outline import Outline
from retrieval.plain import decode

_HIDDEN = frozenset({"script", "style", "template", "noscript", "title", "svg", "iframe", "object"})
_BLOCK_TAGS = """
address article aside blockquote br caption dd div dl dt fieldset figcaption figure footer form header hr li main nav
ol p pre section table tbody tfoot thead tr ul
"""
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_SPACE = re.compile(r"\s+")
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)", re.IGNORECASE)


def parse_html(data: bytes) -> ParsedDocument:
    reader = _Reader()
    reader.feed(_decode(data))
    reader.close()
    return reader.finish()


def _decode(data: bytes) -> str:
    declared = _CHARSET.search(data[:4096])
    if declared and declared[1].lower() not in (b"utf-8", b"utf8", b"utf-16"):
        try:
            return data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            return decode(data)
    return decode(data)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._outline = Outline()
        self._line: list[str] = []
        self._hidden: list[str] = []
        self._preformatted = 0
        self._heading: int | None = None
        self._cells = 0

    def finish(self) -> ParsedDocument:
        self._break()
        return self._outline.finish()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden or tag in _HIDDEN:
            if tag in _HIDDEN:
                self._hidden.append(tag)
            return
        if tag in _HEADINGS:
            self._break()
            self._heading = _HEADINGS[tag]
        elif tag in _BLOCKS:
            self._break()
        elif tag in ("td", "th"):
            if self._cells:
                self._line.append(" | ")
            self._cells += 1
        if tag == "li":
            self._line.append("- ")
        elif tag == "pre":
            self._preformatted += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS and not self._hidden:
            self._break()

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag in self._hidden:
                del self._hidden[self._hidden.index(tag) :]
            return
        if tag in _HEADINGS or tag in _BLOCKS:
            self._break()
        if tag == "pre":
            self._preformatted = max(0, self._preformatted - 1)

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._preformatted:
            self._line.append(data)
        else:
            self._line.append(_SPACE.sub(" ", data))

    def _break(self) -> None:
        text = "".join(self._line)
        text = text.strip("\n") if self._preformatted else _SPACE.sub(" ", text).strip()
        heading, self._heading = self._heading, None
        self._line.clear()
        self._cells = 0
        if not text.strip("- \n|"):
            return
        if heading is not None:
            self._outline.heading(heading, text)
        self._outline.text(text + "\n")
