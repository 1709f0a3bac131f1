"""Passages: chunks of the current versions of an organisation's documents, as a search finds them."""

from __future__ import annotations

from collections.abc import Sequence

from domain.ids import DocumentId, OrganizationId
from domain.knowledge import Passage
from domain.lexical import dimension
from storage.columns import Integers, Texts
from storage.connection import Statement
from storage.database import Row
from storage.queries import load

SQL = load("passages")


def best_chunks(
    organization_id: OrganizationId, terms: Sequence[str], k: int, document_ids: Sequence[DocumentId] | None
) -> Statement:
    """Finds the best chunks by distinct terms of the analyser that indexed them."""
    return SQL["best"], {
        "organization_id": organization_id,
        "terms": Texts(terms),
        "dimensions": Integers(map(dimension, terms)),
        "document_ids": None if document_ids is None else list(document_ids),
        "k": k,
    }


def passages_of(rows: Sequence[Row]) -> list[Passage]:
    """What `best_chunks` found."""
    return [Passage.model_validate(row) for row in rows]
