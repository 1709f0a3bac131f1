"""`save_organization_note`: remember a fact about the organisation for every later conversation."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from domain.errors import ToolError
from domain.ids import OrganizationId, RunId
from domain.notes import MAX_NOTE_CHARACTERS
from tools.base import ToolContext, ToolOutput


class SavedNote(Protocol):
    """What saving says: whether the note is new."""

    @property
    def created(self) -> bool: ...


class NoteStore(Protocol):
    """What the tool needs of the organisation's notes."""

    async def save(
        self, organization_id: OrganizationId, text: str, *, created_by: str, run_id: RunId | None = None
    ) -> SavedNote:
        """Add a note, or find the one that says the same."""
        ...


class SaveOrganizationNote:
    """Save a note of at most 500 characters; one that is known already is not saved twice."""

    name = "save_organization_note"
    description = (
        "Remember one fact about the organisation for all its later conversations. Call it when the user asks to remember "
        "something. One self-contained sentence, at most 500 characters, without 'remember that'."
    )
    parameters: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 1, "maxLength": MAX_NOTE_CHARACTERS}},
        "required": ["text"],
        "additionalProperties": False,
    }
    side_effect = True
    outside = False
    idempotent = True

    def __init__(self, notes: NoteStore) -> None:
        self._notes = notes

    def unavailable(self) -> str | None:
        return None

    async def call(self, context: ToolContext, arguments: dict[str, Any]) -> ToolOutput:
        if context.local_only:
            raise ToolError(
                "Not saved: this conversation has read documents that must not leave the premises, and a note would carry them "
                "into every other conversation. Whoever is sure can add it under /v1/notes.",
                reason="local_only",
            )
        saved = await self._notes.save(
            context.organization_id, arguments["text"], created_by=context.user_id, run_id=context.run_id
        )
        return ToolOutput("Saved." if saved.created else "Already known: the organisation has this note.")
