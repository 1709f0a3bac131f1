"""Cutting parsed text into chunks that never cross a page or a heading."""

from __future__ import annotations

import re
from collections.abc import Iterator

from langchain_text_splitters import RecursiveCharacterTextSplitter

from domain.knowledge import Chunk, ParsedDocument, Span

CHUNK_CHARACTERS = 1000
OVERLAP_CHARACTERS = 150
_SEPARATORS = ["\n\n", "\n", ". ", " ", ""]
_SENTENCE_START = re.compile(r"(?<=[.!?…:;]\s)\S|(?<=\n)\S")
_WORD_START = re.compile(r"(?<=\s)\S")


def chunk(document: ParsedDocument) -> Iterator[Chunk]:
    """The document's chunks in order, at most CHUNK_CHARACTERS each, together all of its text but outer white space.

    `document.text[c.start:c.end] == c.text` for every one. A chunk begins up to OVERLAP_CHARACTERS before the
    end of the one before it, at a sentence or else a word.
    """
    # The splitter's own overlap and start index look a chunk up by its text and find repeated text in the wrong place;
    # without overlap and stripping its pieces are a partition, so that their offsets are sums.
    splitter = RecursiveCharacterTextSplitter(
        separators=_SEPARATORS,
        keep_separator="end",
        chunk_size=CHUNK_CHARACTERS - OVERLAP_CHARACTERS,
        chunk_overlap=0,
        strip_whitespace=False,
    )
    for span in document.spans:
        if span.end - span.start <= CHUNK_CHARACTERS:
            yield from _trimmed(document.text, span.start, span.end, span)
            continue
        start = span.start
        for piece in splitter.split_text(document.text[span.start : span.end]):
            yield from _trimmed(document.text, _overlapping(document.text, span.start, start), start + len(piece), span)
            start += len(piece)


def _overlapping(text: str, lowest: int, start: int) -> int:
    """Where a chunk that would begin at `start` begins with its overlap."""
    lowest = max(lowest, start - OVERLAP_CHARACTERS)
    for boundary in (_SENTENCE_START, _WORD_START):
        found = boundary.search(text, lowest, start)
        if found:
            return found.start()
    return start


def _trimmed(text: str, start: int, end: int, span: Span) -> Iterator[Chunk]:
    body = text[start:end]
    start += len(body) - len(body.lstrip())
    body = body.strip()
    if body:
        yield Chunk(start, start + len(body), body, span.page, span.section)
