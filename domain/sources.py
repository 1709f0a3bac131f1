"""The text form of sources and notes in a prompt: written by the context node and by tools that search, read by models.

Any model sees numbered blocks; the `extractive` provider reads the same text back. One writer and one reader, so they can't drift.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass

from domain.knowledge import Source

_BLOCK = re.compile(
    r'<source n="(\d+)" title="([^"]*)"(?: page="(\d+)")?(?: section="([^"]*)")?(?: url="([^"]*)")?>\n(.*?)\n</source>',
    re.DOTALL,
)
# A note's own angle brackets are escaped, so a prompt that merely speaks of <note> doesn't open one.
_NOTE = re.compile(r"<note>([^<]*)</note>")


@dataclass(frozen=True, slots=True)
class SourceText:
    """A source as a model reads it."""

    n: int
    title: str
    page: int | None
    section: str | None
    text: str
    url: str | None = None
    """Of a web page; None for a document."""


def render_sources(sources: Iterable[Source]) -> str:
    """One `<source>` block a source, in the order given. Angle brackets in a document can't open or close a block."""
    return "\n".join(_render(source) for source in sources)


def _render(source: Source) -> str:
    page = f' page="{source.page}"' if source.page is not None else ""
    section = f' section="{_attribute(source.section)}"' if source.section else ""
    url = f' url="{_attribute(source.url)}"' if source.url else ""
    body = source.text.replace("<source", "‹source").replace("</source", "‹/source")
    return f'<source n="{source.n}" title="{_attribute(source.title)}"{page}{section}{url}>\n{body}\n</source>'


def _attribute(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=True)


def read_sources(prompt: str) -> list[SourceText]:
    """The sources in a prompt or tool result, in order."""
    return [
        SourceText(
            int(n),
            html.unescape(title),
            int(page) if page else None,
            html.unescape(section) if section else None,
            text,
            html.unescape(url) if url else None,
        )
        for n, title, page, section, url, text in _BLOCK.findall(prompt)
    ]


def render_notes(notes: Iterable[str]) -> str:
    """One `<note>` line a note."""
    return "\n".join(f"<note>{html.escape(note, quote=False)}</note>" for note in notes)


def read_notes(prompt: str) -> list[str]:
    """The notes in a prompt, in order."""
    return [html.unescape(note) for note in _NOTE.findall(prompt)]
