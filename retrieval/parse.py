"""From bytes to text with pages and headings: one reader a format."""

from __future__ import annotations

import asyncio

from domain.errors import DocumentUnreadable
from domain.knowledge import ParsedDocument
from retrieval.docx import parse_docx
from retrieval.formats import format_of
from retrieval.html import parse_html
from retrieval.pdf import parse_pdf
from retrieval.plain import parse_csv, parse_markdown, parse_text


def parse(filename: str, media_type: str, data: bytes) -> ParsedDocument:
    """The text of a file. Blocks (up to seconds for a large PDF): call `parse_in_thread` from a coroutine.

    Raises Unsupported for a format that isn't read, DocumentUnreadable with the reason for a file that can't be.
    """
    format = format_of(filename, media_type)
    if not data:
        raise DocumentUnreadable("empty", "The file is empty.")
    match format:
        case "txt":
            return parse_text(data)
        case "md":
            return parse_markdown(data)
        case "csv":
            return parse_csv(data)
        case "html":
            return parse_html(data)
        case "pdf":
            return parse_pdf(data)
        case "docx":
            return parse_docx(data)


async def parse_in_thread(filename: str, media_type: str, data: bytes) -> ParsedDocument:
    """`parse` off the event loop."""
    return await asyncio.to_thread(parse, filename, media_type, data)
