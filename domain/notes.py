"""A note: one short fact the organisation wants every agent to know."""

from __future__ import annotations

import unicodedata
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from domain.errors import InvalidInput
from domain.ids import NoteId, RunId
from domain.text import clean

MAX_NOTE_CHARACTERS = 500


class Note(BaseModel):
    """A note and where it came from. `run_id` is None where a person wrote it through the API."""

    model_config = ConfigDict(frozen=True)

    note_id: NoteId
    text: str
    created_by: str
    run_id: RunId | None
    created_at: datetime
    updated_at: datetime


def note_text(text: str) -> str:
    """`text` as it is stored: cleaned, outer white space off. Raises InvalidInput where empty or over 500
    characters."""
    cleaned = clean(text).strip()
    if not fold(cleaned):
        raise InvalidInput("text", "a note needs at least one letter or digit")
    if len(cleaned) > MAX_NOTE_CHARACTERS:
        raise InvalidInput(
            "text",
            f"a note has at most {MAX_NOTE_CHARACTERS} characters, this one has {len(cleaned)}",
            limit=MAX_NOTE_CHARACTERS,
        )
    return cleaned


def fold(text: str) -> str:
    """The form in which two notes count as the same: case, white space and punctuation folded, ё as е."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("ё", "е")
    return " ".join("".join(char if char.isalnum() else " " for char in plain).split())
