"""Notes: at most 500 characters, one of a kind in an organisation, the relevant ones found."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Conflict, InvalidInput, NotFound
from domain.ids import NoteId, OrganizationId, RunId, new_id
from domain.notes import fold
from retrieval.analyse import analyse
from storage.database import Database
from storage.notes import Notes


@pytest.fixture
def notes(db: Database) -> Notes:
    return Notes(db, analyse)


async def test_a_note_lives_and_dies(notes: Notes, organization: OrganizationId) -> None:
    run_id = RunId(new_id())
    note = await notes.add(organization, "  Склад в Твери.\x00 ", created_by="ann", run_id=run_id)
    assert (note.text, note.created_by, note.run_id) == ("Склад в Твери.", "ann", run_id)
    assert await notes.get(organization, note.note_id) == note
    assert await notes.page(organization) == ([note], 1)
    changed = await notes.update(organization, note.note_id, "Склад в Казани.")
    assert (changed.text, changed.note_id, changed.run_id) == ("Склад в Казани.", note.note_id, run_id)
    await notes.delete(organization, note.note_id)
    with pytest.raises(NotFound):
        await notes.get(organization, note.note_id)
    assert await notes.page(organization) == ([], 0)


@pytest.mark.parametrize("same", ["НАША ёлка - зелёная", "наша  елка, зеленая!", "«Наша ёлка» — зелёная."])
async def test_the_same_note_is_one_note(notes: Notes, organization: OrganizationId, same: str) -> None:
    first = await notes.add(organization, "Наша ёлка зелёная", created_by="ann")
    saved = await notes.save(organization, same, created_by="bob")
    assert (saved.created, saved.note) == (False, first)
    with pytest.raises(Conflict) as taken:
        await notes.add(organization, same, created_by="bob")
    assert taken.value.details["note_id"] == first.note_id


async def test_a_note_cannot_become_another(notes: Notes, organization: OrganizationId) -> None:
    first = await notes.add(organization, "One", created_by="ann")
    second = await notes.add(organization, "Two", created_by="ann")
    with pytest.raises(Conflict) as taken:
        await notes.update(organization, second.note_id, "ONE!")
    assert taken.value.details["note_id"] == first.note_id
    assert (await notes.update(organization, first.note_id, "one.")).text == "one."


async def test_saved_at_once_it_is_saved_once(notes: Notes, organization: OrganizationId) -> None:
    saved = await asyncio.gather(*(notes.save(organization, f"Факт {'!' * n}", created_by="ann") for n in range(8)))
    assert sum(one.created for one in saved) == 1
    assert len({one.note.note_id for one in saved}) == 1


@pytest.mark.parametrize("text", ["", "  \n", "?!…", "x" * 501, "\x00"])
async def test_what_is_no_note(notes: Notes, organization: OrganizationId, text: str) -> None:
    with pytest.raises(InvalidInput):
        await notes.add(organization, text, created_by="ann")


async def test_five_hundred_characters_fit(notes: Notes, organization: OrganizationId) -> None:
    assert len((await notes.add(organization, "я" * 500, created_by="ann")).text) == 500


async def test_organisations_keep_their_own(
    notes: Notes, organization: OrganizationId, other_organization: OrganizationId
) -> None:
    mine = await notes.add(organization, "Секрет", created_by="ann")
    assert (await notes.save(other_organization, "секрет", created_by="bob")).created
    for note_id in (mine.note_id, NoteId("x"), NoteId(new_id())):
        with pytest.raises(NotFound):
            await notes.get(other_organization, note_id)
        with pytest.raises(NotFound):
            await notes.update(other_organization, note_id, "украдено")
        with pytest.raises(NotFound):
            await notes.delete(other_organization, note_id)
    assert (await notes.page(organization)) == ([mine], 1)


@given(st.text())
def test_folding_is_settled_after_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert fold(text.upper().casefold()) == fold(fold(text.upper()))
