"""The sample organisation: it loads, loads again without a change, and its questions find their answers."""

from __future__ import annotations

import pytest

from retrieval.analyse import analyse
from retrieval.demo import load_demo, read_demo
from retrieval.index import KnowledgeIndex
from retrieval.search import LexicalRetriever
from storage.database import Database
from storage.notes import Notes

QUESTIONS = [
    ("Какая неустойка за просрочку поставки по договору?", "в размере 0,1 % от стоимости непоставленного товара", 3),
    ("What was the conversion rate of the spring campaign?", "The conversion rate of the spring campaign was 4.2%", 1),
    ("Which deals are in the negotiation stage?", "Six deals are in the negotiation stage: TeploStroy", None),
    ("What is our average deal size?", "The average deal size in the first quarter was 2.35 million roubles.", None),
    ("Какой штраф за разглашение конфиденциальной информации?", "штраф в размере 1 000 000 рублей", None),
    ("Сколько стоит Бриз 600?", "«Бриз 600» стоит 164 000 рублей", None),
    ("How long does a customer have to return a unit?", "within 30 days of delivery", None),
    ("Сколько дней длится отпуск?", "составляет 28 календарных дней", None),
    ("What is the governing law of the agreement with Helios?", "governed by the laws of Finland", None),
    ("Какова конверсия осенней кампании?", "Конверсия осенней кампании составила 3,6 %", None),
]


async def test_the_sample_organisation(db: Database) -> None:
    index, notes, demo = KnowledgeIndex(db), Notes(db, analyse), read_demo()
    first = await load_demo(index, notes, demo)
    assert [document.status for document in first] == ["ready"] * len(demo.documents)
    assert await load_demo(index, notes, demo) == first
    assert (await notes.page(demo.organization_id))[1] == len(demo.notes) >= 8
    retriever = LexicalRetriever(index.documents)
    for question, answer, page in QUESTIONS:
        found = await retriever.search(demo.organization_id, question, 3)
        hits = [passage for passage in found if answer in " ".join(passage.text.split())]
        assert hits, question
        assert hits[0].page == page


@pytest.mark.parametrize("role", ["admin", "manager", "member"])
def test_there_is_someone_of_every_role(role: str) -> None:
    assert role in {user.role for user in read_demo().users}
