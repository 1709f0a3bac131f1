"""Text, Markdown and CSV."""

from __future__ import annotations

import codecs
import csv
import io
import re

from domain.errors import DocumentUnreadable
from domain.knowledge import ParsedDocument
from retrieval.outline import Outline

_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def decode(data: bytes) -> str:
    """Text of unknown encoding: a BOM decides, then UTF-8, then cp1251. Line ends become \\n.

    Raises DocumentUnreadable for bytes that are no text.
    """
    text = _decode(data)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes) -> str:
    for bom, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # cp1251 reads any byte; too many control characters mean that this is no text at all.
        if len(_BINARY.findall(data)) > len(data) // 100:
            raise DocumentUnreadable("not_text", "The file is not text: it holds binary data.") from None
        return data.decode("cp1251", "replace")


def parse_text(data: bytes) -> ParsedDocument:
    outline = Outline()
    outline.text(decode(data))
    return outline.finish()


def parse_markdown(data: bytes) -> ParsedDocument:
    """Markdown as it stands; # and underlined headings give the sections, those in code fences don't."""
    outline = Outline()
    lines = decode(data).splitlines(keepends=True)
    fence: str | None = None
    for at, line in enumerate(lines):
        opened = _FENCE.match(line)
        if opened and (fence is None or opened[1].startswith(fence)):
            fence = opened[1] if fence is None else None
        elif fence is None:
            _heading(outline, line, lines[at + 1] if at + 1 < len(lines) else "")
        outline.text(line)
    return outline.finish()


def _heading(outline: Outline, line: str, below: str) -> None:
    atx = _ATX.match(line)
    if atx:
        outline.heading(len(atx[1]), _inline(atx[2]))
        return
    setext = _SETEXT.match(below)
    if setext and line.strip() and not line.lstrip().startswith((">", "-", "*", "+", "|", "#")):
        outline.heading(1 if setext[1][0] == "=" else 2, _inline(line))


def _inline(title: str) -> str:
    return re.sub(r"[*`]|\[([^\]]*)\]\([^)]*\)", lambda found: found[1] or "", title)


def parse_csv(data: bytes) -> ParsedDocument:
    """One line a row, `column: value; column: value`, so that a row found alone still says what its figures are."""
    text = decode(data)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:10_000], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    outline = Outline()
    try:
        rows = csv.reader(io.StringIO(text), dialect)
        header = next(rows, [])
        for row in rows:
            cells = [f"{name}: {value}" if name else value for name, value in _pairs(header, row) if value.strip()]
            if cells:
                outline.text("; ".join(cells) + "\n")
    except csv.Error as broken:
        raise DocumentUnreadable("damaged", f"The table can't be read: {broken}.") from broken
    if outline.is_empty:
        outline.text(text)
    return outline.finish()


def _pairs(header: list[str], row: list[str]) -> list[tuple[str, str]]:
    names = header + [""] * (len(row) - len(header))
    return [(name.strip(), value.strip()) for name, value in zip(names, row, strict=False)]
