"""Cutting parsed text into chunks that never cross a page or a heading."""

from __future__ import annotations

from collections.abc import Iterator

from langchain_text_splitters import RecursiveCharacterTextSplitter

from domain.knowledge import Chunk, ParsedDocument

CHUNK_CHARACTERS = 1000
OVERLAP_CHARACTERS = 150
_SEPARATORS = ["\n\n", "\n", ". ", " ", ""]


def chunk(document: ParsedDocument) -> Iterator[Chunk]:
    """The document's chunks in order, at most CHUNK_CHARACTERS each; `document.text[c.start:c.end] == c.text` for
    every one."""
    splitter = RecursiveCharacterTextSplitter(
        separators=_SEPARATORS,
        keep_separator="end",
        chunk_size=CHUNK_CHARACTERS,
        chunk_overlap=OVERLAP_CHARACTERS,
        add_start_index=True,
    )
    for span in document.spans:
        text = document.text[span.start : span.end]
        if len(text) <= CHUNK_CHARACTERS:
            yield from _trimmed(document.text, span.start, span.end, span.page, span.section)
            continue
        for piece in splitter.create_documents([text]):
            start = span.start + piece.metadata["start_index"]
            yield Chunk(start, start + len(piece.page_content), piece.page_content, span.page, span.section)


def _trimmed(text: str, start: int, end: int, page: int | None, section: str | None) -> Iterator[Chunk]:
    body = text[start:end]
    start += len(body) - len(body.lstrip())
    body = body.strip()
    if body:
        yield Chunk(start, start + len(body), body, page, section)
