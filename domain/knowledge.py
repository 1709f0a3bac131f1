"""What retrieval yields and what an answer cites."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from domain.ids import ChunkId, DocumentId

DocumentStatus = Literal["pending", "parsing", "indexing", "ready", "failed"]


class Passage(BaseModel):
    """One retrieved piece of a document. Offsets count characters in the parsed text of that version, end exclusive."""

    model_config = ConfigDict(frozen=True)

    chunk_id: ChunkId
    document_id: DocumentId
    version: int
    title: str
    page: int | None = None
    """1-based page; None where the format has no pages."""
    section: str | None = None
    """Headings above the passage, outermost first, joined by ' › '."""
    start: int
    end: int
    text: str
    score: float


class Source(Passage):
    """A passage with the number it has in this turn: the `n` of a `[n]` marker."""

    n: int


class SourceCitation(BaseModel):
    """One verified `[n]` of an answer. `answer_start`/`answer_end` span the marker in the answer; `start`/`end` the quote in the source."""

    model_config = ConfigDict(frozen=True)

    n: int
    document_id: DocumentId
    version: int
    title: str
    page: int | None
    section: str | None
    start: int
    end: int
    quote: str
    answer_start: int
    answer_end: int
