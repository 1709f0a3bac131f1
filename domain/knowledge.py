"""What retrieval yields and what an answer cites."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from domain.ids import ChunkId, DocumentId

LOCAL_ONLY = "local_only"
"""The label of a document that must not leave the premises: a conversation it enters goes on without cloud models."""
DocumentStatus = Literal["pending", "parsing", "indexing", "ready", "failed"]


class Document(BaseModel):
    """A document's record. `status`, `progress`, `error`, `pages` and `chunks` are those of `version`, the newest
    upload."""

    model_config = ConfigDict(frozen=True)

    document_id: DocumentId
    title: str
    filename: str
    media_type: str
    size_bytes: int
    sha256: str
    """Of the newest version's bytes, lower-case hex."""
    version: int
    searchable_version: int | None
    """The version that search reads; older than `version` while that one is being read or when it failed. None before
    the first."""
    status: DocumentStatus
    progress: float
    """0..1 of the newest version's ingestion."""
    error: dict[str, Any] | None
    """`{code, message}` where status is 'failed'."""
    pages: int | None
    """None where the format has no pages or the version isn't read yet."""
    chunks: int | None
    labels: list[str]
    created_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of parsed text under one page and one heading; characters, end exclusive. Spans don't overlap and are
    in order."""

    start: int
    end: int
    page: int | None = None
    section: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The text of one version and where its pages and headings are. `pages` is None where the format has none."""

    text: str
    spans: tuple[Span, ...]
    pages: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of parsed text: `text` is exactly the parsed text from `start` to `end`."""

    start: int
    end: int
    text: str
    page: int | None = None
    section: str | None = None


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """A chunk with its lexical vector (see domain/lexical.py) and its length in terms."""

    chunk: Chunk
    lexical: str
    length: int


class Passage(BaseModel):
    """One retrieved piece of a document or of a web page.

    Offsets count characters, end exclusive: in the parsed text of that version, or in what the search quoted of the page.
    """

    model_config = ConfigDict(frozen=True)

    chunk_id: ChunkId
    document_id: DocumentId | None
    """None for a web page, as is `version`."""
    version: int | None
    url: str | None = None
    """http(s) address of the web page; None for a document."""
    title: str
    page: int | None = None
    """1-based page; None where the format has no pages."""
    section: str | None = None
    """Headings above the passage, outermost first, joined by ' › '."""
    start: int
    end: int
    text: str
    score: float
    local_only: bool = False
    """Whether its document has the label LOCAL_ONLY."""


class Source(Passage):
    """A passage with the number it has in this turn: the `n` of a `[n]` marker."""

    n: int


class SourceCitation(BaseModel):
    """One verified `[n]` of an answer. `answer_start`/`answer_end` span the marker in the answer; `start`/`end` the
    quote in the source."""

    model_config = ConfigDict(frozen=True)

    n: int
    document_id: DocumentId | None
    """None for a web page, as is `version`."""
    version: int | None
    url: str | None = None
    """Of the web page; None for a document."""
    title: str
    page: int | None
    section: str | None
    start: int
    end: int
    quote: str
    answer_start: int
    answer_end: int
