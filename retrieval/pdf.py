"""PDF by pdfium: text page by page, bookmarks as sections."""

from __future__ import annotations

import re
import threading
from collections import defaultdict

import pypdfium2
import pypdfium2.raw as pdfium

from domain.errors import DocumentUnreadable
from domain.knowledge import ParsedDocument
from retrieval.outline import Outline

MAX_PAGES = 2000
_LIST_ITEM = re.compile(r"(?:\d+(?:\.\d+)*[.)]|\d+(?:\.\d+)+|[-•–—*])\s")
_ENDS = ".!?:;"
_LOCK = threading.Lock()
"""pdfium is not thread-safe: one call at a time in the process."""


def parse_pdf(data: bytes) -> ParsedDocument:
    if b"%PDF-" not in data[:1024]:
        raise DocumentUnreadable("not_pdf", "The file is not a PDF.")
    with _LOCK:
        pages, bookmarks = _read(data)
    outline = Outline()
    for number, text in enumerate(pages, start=1):
        outline.page(number)
        _add_page(outline, reflow(_without_number(text, number)), bookmarks.get(number, []))
    return outline.finish(pages=len(pages))


def _read(data: bytes) -> tuple[list[str], dict[int, list[tuple[int, str]]]]:
    """Raw text of each page, and for each page number the (level, title) of its bookmarks in order."""
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as broken:
        if broken.err_code == pdfium.FPDF_ERR_PASSWORD:
            raise DocumentUnreadable("encrypted", "The PDF is encrypted; upload it without a password.") from broken
        raise DocumentUnreadable("damaged", "The PDF is damaged and can't be opened.") from broken
    try:
        if len(document) > MAX_PAGES:
            raise DocumentUnreadable(
                "too_large", f"The PDF has {len(document)} pages; at most {MAX_PAGES} are read.", limit=MAX_PAGES
            )
        return [_page_text(document, index) for index in range(len(document))], _bookmarks(document)
    except pypdfium2.PdfiumError as broken:
        raise DocumentUnreadable("damaged", f"The PDF is damaged: {broken}.") from broken
    finally:
        document.close()


def _page_text(document: pypdfium2.PdfDocument, index: int) -> str:
    page = document[index]
    try:
        text_page = page.get_textpage()
        try:
            text: str = text_page.get_text_range(errors="ignore")
            return text
        finally:
            text_page.close()
    finally:
        page.close()


def _bookmarks(document: pypdfium2.PdfDocument) -> dict[int, list[tuple[int, str]]]:
    found: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for bookmark in document.get_toc():
        target = bookmark.get_dest()
        index = target.get_index() if target is not None else None
        if index is not None:
            found[index + 1].append((bookmark.level + 1, bookmark.get_title()))
    return found


def _add_page(outline: Outline, text: str, bookmarks: list[tuple[int, str]]) -> None:
    """The page, cut at the lines that are its bookmarks' titles; a title that isn't in the text counts from where it
    stands."""
    done = 0
    for level, title in bookmarks:
        at = _find_line(text, title, done)
        if at is not None:
            outline.text(text[done:at])
            done = at
        outline.heading(level, title)
    outline.text(text[done:])
    outline.text("\n")


def _find_line(text: str, title: str, start: int) -> int | None:
    words = title.split()
    if not words:
        return None
    pattern = re.compile(r"^[ \t]*" + r"\s+".join(map(re.escape, words)), re.MULTILINE)
    found = pattern.search(text, start)
    return found.start() if found else None


def _without_number(text: str, number: int) -> str:
    """The page without a first or last line that is only its number."""
    lines = text.strip().splitlines()
    for edge in (0, -1):
        if lines and lines[edge].strip() == str(number):
            del lines[edge]
    return "\n".join(lines)


def reflow(text: str) -> str:
    """Page text with the lines of a paragraph joined by spaces.

    A line end is a wrap where no sentence ends and the next line's first word would not have fitted; list items and
    numbered clauses keep their line.
    """
    # pdfium marks a hyphen at a line's end, which it has removed, by U+FFFE or U+0002.
    plain = re.sub("[\ufffe\x02](\r?\n)?", "", text).replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.strip() for line in plain.split("\n")]
    width = max(map(len, lines), default=0)
    joined: list[str] = []
    previous = ""
    for line in lines:
        first_word = line.partition(" ")[0]
        wraps = (
            bool(previous and line) and previous[-1] not in _ENDS and len(previous) + 1 + len(first_word) > 0.85 * width
        )
        if wraps and width > 40 and not _LIST_ITEM.match(line):
            joined[-1] += " " + line
        else:
            joined.append(line)
        previous = line
    return "\n".join(joined).strip("\n")
