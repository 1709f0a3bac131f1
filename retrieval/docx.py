"""DOCX: paragraphs and tables in reading order; heading styles as sections."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import docx
from docx.opc.exceptions import PackageNotFoundError
from docx.table import Table
from docx.text.paragraph import Paragraph

from domain.errors import DocumentUnreadable
from domain.knowledge import ParsedDocument
from retrieval.outline import MAX_TEXT_CHARACTERS, Outline

_MAX_UNPACKED = 200 * 2**20
_MAX_XML = 20 * MAX_TEXT_CHARACTERS // 4
_MAX_RATIO = 200
_RATIO_FROM = 10 * 2**20
_MAX_ENTRIES = 10_000
_LEVEL = re.compile(r"heading (\d)", re.IGNORECASE)


def parse_docx(data: bytes) -> ParsedDocument:
    _check_archive(data)
    try:
        document = docx.Document(io.BytesIO(data))
    except (PackageNotFoundError, KeyError, ValueError, zipfile.BadZipFile, SyntaxError) as broken:
        # SyntaxError is what lxml's XMLSyntaxError is.
        raise DocumentUnreadable("not_docx", "The file is not a DOCX document, or it is damaged.") from broken
    outline = Outline()
    for block in document.iter_inner_content():
        if isinstance(block, Paragraph):
            _paragraph(outline, block)
        else:
            _table(outline, block)
    return outline.finish()


def _paragraph(outline: Outline, paragraph: Paragraph) -> None:
    text = paragraph.text.strip()
    if not text:
        return
    level = _heading_level(paragraph)
    if level is not None:
        outline.heading(level, text)
    outline.text(text + "\n")


def _heading_level(paragraph: Paragraph) -> int | None:
    style: Any = paragraph.style
    name = (style.name or "") if style is not None else ""
    if name == "Title":
        return 0
    found = _LEVEL.match(name)
    return int(found[1]) if found else None


def _table(outline: Outline, table: Table) -> None:
    for row in table.rows:
        # A merged cell is given once for each column it spans.
        cells: list[str] = []
        last: Any = None
        for cell in row.cells:
            if cell._tc is not last:
                cells.append(" ".join(cell.text.split()))
            last = cell._tc
        if any(cells):
            outline.text(" | ".join(cells) + "\n")


def _check_archive(data: bytes) -> None:
    """Look at the archive's directory before anything is unpacked: a small file can unpack to gigabytes."""
    if data[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise DocumentUnreadable(
            "encrypted", "The file is encrypted or an old .doc; save it as a DOCX without a password."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as broken:
        raise DocumentUnreadable("not_docx", "The file is not a DOCX document, or it is damaged.") from broken
    unpacked = sum(entry.file_size for entry in entries)
    packed = max(1, sum(entry.compress_size for entry in entries))
    xml = sum(entry.file_size for entry in entries if entry.filename.endswith((".xml", ".rels")))
    bomb = unpacked > _RATIO_FROM and unpacked / packed > _MAX_RATIO
    if bomb or unpacked > _MAX_UNPACKED or xml > _MAX_XML or len(entries) > _MAX_ENTRIES:
        raise DocumentUnreadable(
            "too_large", f"The file unpacks to {unpacked} bytes, which is too much to read.", unpacked=unpacked
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise DocumentUnreadable("encrypted", "The file is encrypted; save it without a password.")
