"""What an organisation knows about a question: passages and notes together, also where the search began ahead of its run."""

from __future__ import annotations

import pytest

from domain.identity import Identity
from domain.ids import OrganizationId, RunId, new_id
from retrieval.analyse import analyse
from retrieval.index import KnowledgeIndex
from retrieval.recall import Asked, Recall
from retrieval.search import LexicalRetriever
from storage.database import Database
from storage.notes import Notes


@pytest.fixture
def recall(db: Database, retriever: LexicalRetriever) -> Recall:
    return Recall(db, retriever)


@pytest.fixture
def notes(db: Database) -> Notes:
    return Notes(db, analyse)


async def _texts(recall: Recall, asked: Asked, run_id: RunId | None = None) -> list[str]:
    return [note.text for note in (await recall.about(asked, run_id)).notes]


async def test_the_notes_that_match_best_come_first(recall: Recall, notes: Notes, organization: OrganizationId) -> None:
    for text in ("Склад находится в Твери", "Год начинается в апреле", "Звонки по вторникам", "Скидка 5 %"):
        await notes.add(organization, text, created_by="ann")
    found = await _texts(recall, Asked(organization, "Где находятся склады?", 3, 2))
    assert found == ["Склад находится в Твери", "Скидка 5 %"]
    assert len(await _texts(recall, Asked(organization, "ничего похожего", 3, 10))) == 4
    assert len(await _texts(recall, Asked(organization, "", 3, 10))) == 4
    assert await _texts(recall, Asked(organization, "склад", 3, 0)) == []


async def test_passages_are_those_of_the_search(
    recall: Recall, index: KnowledgeIndex, retriever: LexicalRetriever, notes: Notes, manager: Identity
) -> None:
    text = "\n\n".join(f"{n}. Пени за просрочку поставки партии {n} составляют {n} %." for n in range(1, 9))
    document = await index.add(manager, "договор.txt", "text/plain", text.encode())
    await index.ingest(manager.organization_id, document.document_id, document.version)
    await notes.add(manager.organization_id, "Пени не взимаем", created_by="ann")
    found = await recall.about(Asked(manager.organization_id, "Какие пени за просрочку?", 2, 5), None)
    assert found.passages == await retriever.search(manager.organization_id, "Какие пени за просрочку?", 2)
    assert found.passages
    assert [note.text for note in found.notes] == ["Пени не взимаем"]
    assert (await recall.about(Asked(manager.organization_id, "Какие пени?", 0, 5), None)).passages == []


async def test_nothing_of_another_organisation(
    recall: Recall, notes: Notes, organization: OrganizationId, other_organization: OrganizationId
) -> None:
    await notes.add(organization, "Секрет", created_by="ann")
    run_id = RunId(new_id())
    recall.begin(run_id, Asked(organization, "секрет", 3, 9))
    assert await _texts(recall, Asked(other_organization, "секрет", 3, 9), run_id) == []


async def test_a_search_ahead_is_taken_once_and_for_its_question_only(
    recall: Recall, notes: Notes, organization: OrganizationId
) -> None:
    await notes.add(organization, "Склад в Твери", created_by="ann")
    asked, run_id, other = Asked(organization, "Где склад?", 3, 9), RunId(new_id()), RunId(new_id())
    for run in (run_id, other):
        recall.begin(run, asked)
    assert await _texts(recall, asked, run_id) == ["Склад в Твери"]
    await notes.add(organization, "Второй склад в Казани", created_by="ann")
    assert len(await _texts(recall, asked, run_id)) == 2, "a second search of the run is made anew"
    assert len(await _texts(recall, Asked(organization, "Где второй склад?", 3, 9), other)) == 2
