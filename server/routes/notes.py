"""Notes of the caller's organisation."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from domain.errors import Forbidden
from domain.identity import Identity
from domain.ids import NoteId
from domain.notes import Note
from server.deps import CallerDep, StateDep

router = APIRouter(prefix="/v1/notes", tags=["notes"])


class NoteText(BaseModel):
    """A note's text, at most 500 characters."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1)


class NotePage(BaseModel):
    """A page of notes, newest first; `total` counts all."""

    items: list[Note]
    total: int


@router.get("")
async def list_notes(
    state: StateDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> NotePage:
    """The organisation's notes, newest first."""
    items, total = await state.notes.page(caller.organization_id, limit=limit, offset=offset)
    return NotePage(items=items, total=total)


@router.post("", status_code=201)
async def add_note(state: StateDep, caller: CallerDep, body: NoteText) -> Note:
    """Add a note. 409 with `details.note_id` where one says the same, case, spaces and punctuation apart."""
    _require_manager(caller)
    return await state.notes.add(caller.organization_id, body.text, created_by=caller.user_id)


@router.get("/{note_id}")
async def get_note(state: StateDep, caller: CallerDep, note_id: str) -> Note:
    """One note."""
    return await state.notes.get(caller.organization_id, NoteId(note_id))


@router.patch("/{note_id}")
async def update_note(state: StateDep, caller: CallerDep, note_id: str, body: NoteText) -> Note:
    """Give a note another text. 409 where another note says the same."""
    _require_manager(caller)
    return await state.notes.update(caller.organization_id, NoteId(note_id), body.text)


@router.delete("/{note_id}", status_code=204)
async def delete_note(state: StateDep, caller: CallerDep, note_id: str) -> None:
    """Delete a note."""
    _require_manager(caller)
    await state.notes.delete(caller.organization_id, NoteId(note_id))


def _require_manager(caller: Identity) -> None:
    if not caller.at_least("manager"):
        raise Forbidden("Notes are changed by managers.", required_role="manager")
