"""The organisation's notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.errors import UniqueViolation

from domain.errors import Conflict, NotFound
from domain.ids import NoteId, OrganizationId, RunId, is_uuid, new_id
from domain.lexical import dimension, vector
from domain.notes import Note, fold, note_text
from storage.columns import Integers, Texts
from storage.connection import Statement
from storage.database import Database, Row
from storage.queries import load

SQL = load("notes")


@dataclass(frozen=True, slots=True)
class Saved:
    """What saving a note did: `created` is False where the organisation already had it, and `note` is that one."""

    note: Note
    created: bool


class Notes:
    """Reads and changes notes. `analyse` turns text into search terms (the retrieval floor's analyser).

    A method given an id that is not in the organisation, or no UUID, raises NotFound; a text that is empty or over 500
    characters raises InvalidInput.
    """

    def __init__(self, db: Database, analyse: Callable[[str], list[str]]) -> None:
        self._db = db
        self._analyse = analyse

    async def save(
        self, organization_id: OrganizationId, text: str, *, created_by: str, run_id: RunId | None = None
    ) -> Saved:
        """Add a note, or find the one that says the same (case, white space and punctuation apart)."""
        params = self._row(organization_id, text) | {"note_id": new_id(), "created_by": created_by, "run_id": run_id}
        row = await self._db.fetch_one(organization_id, SQL["add"], params)
        if row is not None:
            return Saved(_note(row), created=True)
        row = await self._db.fetch_one(organization_id, SQL["find_folded"], params)
        if row is None:  # deleted between the two statements
            return await self.save(organization_id, text, created_by=created_by, run_id=run_id)
        return Saved(_note(row), created=False)

    async def add(
        self, organization_id: OrganizationId, text: str, *, created_by: str, run_id: RunId | None = None
    ) -> Note:
        """Add a note. Raises Conflict, with the existing note's id in `details.note_id`, where it is there already."""
        saved = await self.save(organization_id, text, created_by=created_by, run_id=run_id)
        if not saved.created:
            raise _duplicate(saved.note.note_id)
        return saved.note

    async def get(self, organization_id: OrganizationId, note_id: NoteId) -> Note:
        return _note(await self._change(organization_id, "get", note_id, {}))

    async def page(
        self, organization_id: OrganizationId, *, limit: int = 50, offset: int = 0
    ) -> tuple[list[Note], int]:
        """A page of notes, newest first, and how many there are."""
        params = {"organization_id": organization_id, "limit": limit, "offset": offset}
        rows = await self._db.fetch_all(organization_id, SQL["list"], params)
        if rows:
            return [_note(row) for row in rows], int(rows[0]["total"])
        counted = await self._db.fetch_one(organization_id, SQL["count"], params)
        return [], int(counted["total"]) if counted else 0

    async def update(self, organization_id: OrganizationId, note_id: NoteId, text: str) -> Note:
        """Give a note another text. Raises Conflict where another note says the same."""
        params = self._row(organization_id, text)
        try:
            return _note(await self._change(organization_id, "update", note_id, params))
        except UniqueViolation:
            row = await self._db.fetch_one(organization_id, SQL["find_folded"], params)
            raise _duplicate(row["note_id"] if row else None) from None

    async def delete(self, organization_id: OrganizationId, note_id: NoteId) -> None:
        await self._change(organization_id, "delete", note_id, {})

    async def _change(
        self, organization_id: OrganizationId, query: str, note_id: NoteId, params: dict[str, Any]
    ) -> Row:
        if not is_uuid(note_id):
            raise NotFound("note", note_id)
        row = await self._db.fetch_one(organization_id, SQL[query], params | {"note_id": note_id})
        if row is None:
            raise NotFound("note", note_id)
        return row

    def _row(self, organization_id: OrganizationId, text: str) -> dict[str, Any]:
        kept = note_text(text)
        return {
            "organization_id": organization_id,
            "text": kept,
            "folded": fold(kept),
            "lexical": vector(self._analyse(kept)),
        }


def best_notes(organization_id: OrganizationId, terms: Sequence[str], limit: int) -> Statement:
    """Finds at most `limit` notes, the best match first, by distinct terms of the analyser; all while they are no more than that."""
    return SQL["relevant"], {
        "organization_id": organization_id,
        "terms": Texts(terms),
        "dimensions": Integers(map(dimension, terms)),
        "limit": limit,
    }


def notes_of(rows: Sequence[Row]) -> list[Note]:
    """What `best_notes` found."""
    return [_note(row) for row in rows]


def _note(row: Row) -> Note:
    return Note.model_validate({key: value for key, value in row.items() if key != "total"})


def _duplicate(note_id: str | None) -> Conflict:
    return Conflict("The organisation already has this note.", note_id=note_id)
