"""Notes at leads, contacts and companies: read, add, change."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from domain.errors import InvalidToolArguments, NotFound
from tools.amocrm.client import embedded
from tools.amocrm.directory import parse
from tools.amocrm.leads import changed
from tools.amocrm.listing import listed
from tools.amocrm.tool import ID, LIMIT, OFFSET, Crm, CrmTool
from tools.amocrm.view import View, known, view

ENTITY = {"type": "string", "enum": ["leads", "contacts", "companies"], "description": "What the note is at."}
ENTITY_ID = {**ID, "description": "Id of the lead, contact or company."}
TEXT = {"type": "string", "minLength": 1, "maxLength": 20_000}
_SHOWN = ("text", "phone", "duration", "source", "service", "original_name", "address")


class Note(BaseModel):
    """A note as amoCRM gives it. Only those of the type common are plain text; calls, messages and files are notes, too."""

    id: int
    note_type: str
    params: dict[str, Any] | list[Any] | None = None
    created_by: int | None = None
    created_at: int | None = None
    updated_at: int | None = None


async def read(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    names = await view(crm)
    found = await listed(
        crm.client,
        f"{arguments['entity']}/{arguments['entity_id']}/notes",
        Note,
        {"order[updated_at]": "desc"},
        lambda note: True,
        key="notes",
        offset=arguments.get("offset", 0),
        limit=arguments.get("limit", 25),
        exact=True,
    )
    return {"notes": [note_view(note, names) for note in found.items], "more": found.more, "complete": found.complete}


async def create(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    path = f"{arguments['entity']}/{arguments['entity_id']}/notes"
    answer = await crm.client.post(path, [{"note_type": "common", "params": {"text": arguments["text"]}}])
    notes = embedded(answer, "notes")
    return {"created": True, "id": notes[0].get("id") if notes else None, "entity_id": arguments["entity_id"]}


async def update(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    names = await view(crm)
    path = f"{arguments['entity']}/{arguments['entity_id']}/notes/{arguments['id']}"
    before = await _get(crm, path, arguments["id"])
    if before.note_type != "common":
        raise InvalidToolArguments(
            f"id: note {before.id} is of the type {before.note_type}; only plain texts can be changed here.",
            fields=["id"],
        )
    await crm.client.patch(path, {"note_type": "common", "params": {"text": arguments["text"]}})
    shown = note_view(before, names)
    return await changed(shown, lambda: _get(crm, path, before.id), lambda after: note_view(after, names))


async def _get(crm: Crm, path: str, note_id: int) -> Note:
    answer = await crm.client.get(path)
    if answer is None:
        raise NotFound("note", str(note_id))
    return parse(Note, answer)


def note_view(note: Note, names: View) -> dict[str, Any]:
    inside = note.params if isinstance(note.params, dict) else {}
    return known(
        {
            "id": note.id,
            "type": note.note_type,
            **{name: inside[name] for name in _SHOWN if isinstance(inside.get(name), (str, int))},
            "created_by": names.person(note.created_by) or note.created_by,
            "created_at": names.time(note.created_at),
            "updated_at": names.time(note.updated_at),
        }
    )


TOOLS = (
    CrmTool(
        "notes_get",
        "Read notes",
        "The notes at a lead, contact or company, the last changed first: texts, calls, messages, files.",
        {"entity": ENTITY, "entity_id": ENTITY_ID, "limit": LIMIT, "offset": OFFSET},
        ("entity", "entity_id"),
        "read",
        read,
    ),
    CrmTool(
        "notes_create",
        "Add a note",
        "Add a text note to a lead, contact or company.",
        {"entity": ENTITY, "entity_id": ENTITY_ID, "text": TEXT},
        ("entity", "entity_id", "text"),
        "add",
        create,
    ),
    CrmTool(
        "notes_update",
        "Change a note",
        "Replace the text of a text note. Answers with it before and after.",
        {"entity": ENTITY, "entity_id": ENTITY_ID, "id": {**ID, "description": "Of the note."}, "text": TEXT},
        ("entity", "entity_id", "id", "text"),
        "change",
        update,
    ),
)
