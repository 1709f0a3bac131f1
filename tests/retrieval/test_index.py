"""From an upload to search: versions, failures, statistics, isolation, several readers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from psycopg import connect
from psycopg.rows import dict_row

from domain.errors import NotFound, Unsupported
from domain.identity import Identity
from domain.ids import DocumentId
from domain.knowledge import Document
from retrieval.analyse import analyse
from retrieval.index import KnowledgeIndex
from retrieval.queue import IngestQueue
from retrieval.search import LexicalRetriever
from storage.database import Database
from storage.documents import Waiting

LONG = "\n\n".join(f"Пункт {n}. Поставщик обязуется передать товар номер {n} покупателю в срок." for n in range(400))


async def upload(index: KnowledgeIndex, who: Identity, name: str, text: str | bytes, **more: Any) -> Document:
    data = text.encode() if isinstance(text, str) else text
    document = await index.add(who, name, "", data, **more)
    await index.ingest(who.organization_id, document.document_id, document.version)
    return await index.documents.get(who.organization_id, document.document_id)


def rows(owner_dsn: str, sql: str) -> list[dict[str, Any]]:
    with connect(owner_dsn, row_factory=dict_row) as conn:
        return conn.execute(sql.encode()).fetchall()


def assert_statistics_hold(owner_dsn: str) -> None:
    """The statistics are what the chunks in the index say, analysed afresh."""
    expected: dict[tuple[str, str], int] = {}
    chunks: dict[str, int] = {}
    sql = (
        "SELECT c.organization_id::text, c.section, c.text, d.title FROM chunks c JOIN documents d USING (document_id)"
    )
    for row in rows(owner_dsn, sql):
        chunks[row["organization_id"]] = chunks.get(row["organization_id"], 0) + 1
        for term in set(analyse(f"{row['title']} {row['section'] or ''} {row['text']}")):
            expected[row["organization_id"], term] = expected.get((row["organization_id"], term), 0) + 1
    kept = rows(owner_dsn, "SELECT organization_id::text, term, df FROM term_stats")
    assert {(row["organization_id"], row["term"]): row["df"] for row in kept} == expected
    totals = rows(owner_dsn, "SELECT organization_id::text, chunks FROM knowledge_stats WHERE chunks <> 0")
    assert {row["organization_id"]: row["chunks"] for row in totals} == chunks
    (vectors,) = rows(owner_dsn, "SELECT count(*) AS n FROM chunk_vectors JOIN chunks USING (chunk_id)")
    assert vectors["n"] == sum(chunks.values())


async def test_an_upload_becomes_searchable(
    index: KnowledgeIndex, retriever: LexicalRetriever, manager: Identity
) -> None:
    pending = await index.add(
        manager, "C:\\docs\\Договор_поставки.md", "", "# Сроки\nПени 0,1 %.".encode(), labels=[" a ", "a"]
    )
    assert (pending.status, pending.progress, pending.version, pending.searchable_version) == ("pending", 0, 1, None)
    assert (pending.title, pending.filename, pending.labels) == ("Договор поставки", "Договор_поставки.md", ["a"])
    assert await retriever.search(manager.organization_id, "пени", 3) == []
    ready = await index.ingest(manager.organization_id, pending.document_id, 1)
    assert ready is not None
    assert (ready.status, ready.progress, ready.searchable_version, ready.chunks, ready.error) == (
        "ready",
        1,
        1,
        1,
        None,
    )
    (found,) = await retriever.search(manager.organization_id, "какая пеня?", 3)
    assert (found.title, found.section, found.page, found.text) == (
        "Договор поставки",
        "Сроки",
        None,
        "# Сроки\nПени 0,1 %.",
    )
    assert found.score > 0
    text = await index.documents.text(manager.organization_id, found.document_id, found.version)
    assert text.text[found.start : found.end] == found.text
    excerpt = await index.documents.passage(
        manager.organization_id, found.document_id, 1, found.start + 8, found.end, context=5
    )
    assert (excerpt.before, excerpt.text, excerpt.after, excerpt.section) == ("роки\n", "Пени 0,1 %.", "", "Сроки")


async def test_the_better_match_comes_first(
    index: KnowledgeIndex, retriever: LexicalRetriever, manager: Identity
) -> None:
    await upload(index, manager, "a.md", "Поставщик и покупатель. Поставка товара. Договор.")
    await upload(index, manager, "b.md", "Неустойка за просрочку поставки составляет 0,1 % в день.")
    await upload(index, manager, "c.md", "Отпуск составляет 28 дней.")
    found = await retriever.search(manager.organization_id, "Какая неустойка за просрочку поставки?", 5)
    assert [passage.title for passage in found] == ["b", "a"]
    only = await retriever.search(manager.organization_id, "поставка", 5, [found[1].document_id])
    assert [passage.title for passage in only] == ["a"]
    assert await retriever.search(manager.organization_id, "поставка", 5, []) == []
    assert await retriever.search(manager.organization_id, "поставка", 5, [DocumentId("x")]) == []
    assert await retriever.search(manager.organization_id, "", 5) == []
    langchain = await retriever.as_langchain(manager.organization_id, k=1).ainvoke("неустойка")
    assert langchain[0].page_content == found[0].text
    assert langchain[0].metadata["title"] == "b"


async def test_the_same_bytes_are_one_document(index: KnowledgeIndex, manager: Identity) -> None:
    many = await asyncio.gather(*(index.add(manager, "a.txt", "", b"same") for _ in range(8)))
    assert len({document.document_id for document in many}) == 1
    other = await index.add(manager, "b.txt", "", b"same")
    assert other.document_id != many[0].document_id


async def test_a_new_version_replaces_the_old_one_when_it_is_ready(
    index: KnowledgeIndex, retriever: LexicalRetriever, manager: Identity, owner_dsn: str
) -> None:
    first = await upload(index, manager, "a.txt", "Старая цена 100 рублей." + LONG)
    await upload(index, manager, "b.txt", "Другая цена 500 рублей.")
    replaced = await index.add(manager, "a.txt", "", "Новая цена 200 рублей.".encode(), document_id=first.document_id)
    assert (replaced.version, replaced.searchable_version, replaced.status) == (2, 1, "pending")
    (old, *_) = await retriever.search(manager.organization_id, "старая цена", 3)
    assert old.version == 1
    await index.ingest(manager.organization_id, first.document_id, 2)
    found = await retriever.search(manager.organization_id, "старая новая цена", 5)
    assert [(passage.version, passage.text) for passage in found] == [
        (2, "Новая цена 200 рублей."),
        (1, "Другая цена 500 рублей."),
    ]
    kept = await index.documents.passage(manager.organization_id, first.document_id, 1, old.start, old.end)
    assert kept.text == old.text
    assert_statistics_hold(owner_dsn)


async def test_a_version_that_fails_leaves_the_old_one(
    index: KnowledgeIndex, retriever: LexicalRetriever, manager: Identity, owner_dsn: str
) -> None:
    first = await upload(index, manager, "a.txt", "Цена 100 рублей.")
    failed = await upload(index, manager, "a.pdf", b"not a pdf", document_id=first.document_id)
    assert (failed.status, failed.version, failed.searchable_version) == ("failed", 2, 1)
    assert failed.error == {
        "code": "document_unreadable",
        "message": "The file is not a PDF.",
        "details": {"reason": "not_pdf"},
    }
    assert [passage.version for passage in await retriever.search(manager.organization_id, "цена", 3)] == [1]
    assert_statistics_hold(owner_dsn)


async def test_one_bad_file_fails_alone_and_can_be_sent_again(index: KnowledgeIndex, manager: Identity) -> None:
    bad = await upload(index, manager, "a.pdf", b"%PDF-1.4 broken")
    good = await upload(index, manager, "b.txt", "ok then")
    assert (bad.status, good.status) == ("failed", "ready")
    again = await index.add(manager, "a.pdf", "", b"%PDF-1.4 broken")
    assert (again.document_id, again.version, again.status, again.error) == (bad.document_id, 1, "pending", None)


async def test_deleting_leaves_nothing(
    index: KnowledgeIndex, retriever: LexicalRetriever, manager: Identity, owner_dsn: str
) -> None:
    first = await upload(index, manager, "a.txt", LONG)
    await upload(index, manager, "b.txt", "Поставщик обязуется.")
    await index.documents.delete(manager.organization_id, first.document_id)
    assert [passage.title for passage in await retriever.search(manager.organization_id, "поставщик", 3)] == ["b"]
    assert_statistics_hold(owner_dsn)
    with pytest.raises(NotFound):
        await index.documents.get(manager.organization_id, first.document_id)
    assert rows(owner_dsn, "SELECT DISTINCT document_id FROM document_versions WHERE filename = 'a.txt'") == []


async def test_organisations_do_not_meet(
    index: KnowledgeIndex, retriever: LexicalRetriever, manager: Identity, stranger: Identity, owner_dsn: str
) -> None:
    mine = await upload(index, manager, "a.txt", "Тайная цена 100 рублей.")
    theirs = await upload(index, stranger, "a.txt", "Тайная цена 100 рублей.")
    assert mine.document_id != theirs.document_id
    found = await retriever.search(stranger.organization_id, "цена", 9)
    assert [passage.document_id for passage in found] == [theirs.document_id]
    assert await retriever.search(stranger.organization_id, "цена", 9, [mine.document_id]) == []
    assert_statistics_hold(owner_dsn)


@pytest.mark.parametrize("foreign", [True, False])
async def test_a_foreign_id_is_a_missing_one(
    index: KnowledgeIndex, manager: Identity, stranger: Identity, foreign: bool
) -> None:
    theirs = await upload(index, stranger, "a.txt", "Тайная цена 100 рублей.")
    documents, org = index.documents, manager.organization_id
    document_id = theirs.document_id if foreign else DocumentId("not-a-uuid")
    for call in (
        lambda: documents.get(org, document_id),
        lambda: documents.delete(org, document_id),
        lambda: documents.text(org, document_id, 1),
        lambda: documents.content(org, document_id, 1),
        lambda: documents.passage(org, document_id, 1, 0, 3),
        lambda: index.add(manager, "b.txt", "", b"x", document_id=document_id),
    ):
        with pytest.raises(NotFound) as missing:
            await call()
        assert missing.value.details["id"].startswith(document_id)
    assert await index.ingest(org, document_id if foreign else theirs.document_id, 1) is None
    still = await documents.get(stranger.organization_id, theirs.document_id)
    assert still.status == "ready"


@pytest.mark.parametrize(
    ("version", "start", "end"), [(1, 5, 5), (1, 9, 3), (1, -1, 3), (1, 0, 10**6), (2, 0, 1), (10**12, 0, 1)]
)
async def test_no_such_passage(index: KnowledgeIndex, manager: Identity, version: int, start: int, end: int) -> None:
    document = await upload(index, manager, "a.txt", "Цена 100 рублей.")
    with pytest.raises(NotFound):
        await index.documents.passage(manager.organization_id, document.document_id, version, start, end)


async def test_an_unsupported_file_is_refused_at_the_door(index: KnowledgeIndex, manager: Identity) -> None:
    with pytest.raises(Unsupported):
        await index.add(manager, "a.exe", "", b"MZ")
    assert await index.documents.page(manager.organization_id) == ([], 0)


async def test_pages_of_documents(index: KnowledgeIndex, manager: Identity) -> None:
    for n in range(3):
        await upload(index, manager, f"{n}.txt", f"text {n}")
    await upload(index, manager, "bad.pdf", b"bad")
    page, total = await index.documents.page(manager.organization_id, limit=2, offset=1)
    assert ([document.filename for document in page], total) == (["2.txt", "1.txt"], 4)
    failed, total = await index.documents.page(manager.organization_id, status="failed")
    assert ([document.filename for document in failed], total) == (["bad.pdf"], 1)
    assert await index.documents.page(manager.organization_id, offset=9) == ([], 4)


async def test_a_version_is_read_by_one_process(index: KnowledgeIndex, db: Database, manager: Identity) -> None:
    document = await index.add(manager, "a.txt", "", LONG.encode())
    other = KnowledgeIndex(db)
    org = manager.organization_id
    done = await asyncio.gather(*(i.ingest(org, document.document_id, 1) for i in (index, other, index)))
    assert [one for one in done if one is not None] == [await index.documents.get(org, document.document_id)]


async def test_a_reader_that_lost_its_version_publishes_nothing(
    index: KnowledgeIndex, retriever: LexicalRetriever, manager: Identity, owner_dsn: str
) -> None:
    document = await index.add(manager, "a.txt", "", "Первая редакция.".encode())
    claim = await index.documents.claim(Waiting(manager.organization_id, document.document_id, 1), "dead")
    assert claim is not None
    newer = await upload(index, manager, "a.txt", "Вторая редакция.", document_id=document.document_id)
    text = await index.documents.text(manager.organization_id, document.document_id, 2)
    assert not await index.documents.publish(claim, text, [], {})
    assert not await index.documents.advance(claim, "indexing", 0.5)
    await index.documents.fail(claim, {"code": "x", "message": "x"})
    assert await index.documents.get(manager.organization_id, document.document_id) == newer
    assert len(await retriever.search(manager.organization_id, "редакция", 3)) == 1
    assert_statistics_hold(owner_dsn)


async def test_parallel_changes_keep_the_statistics(index: KnowledgeIndex, manager: Identity, owner_dsn: str) -> None:
    documents = [await index.add(manager, f"{n}.txt", "", f"{n} {LONG[: 3000 + n]}".encode()) for n in range(8)]
    org = manager.organization_id

    async def live(n: int) -> None:
        await index.ingest(org, documents[n].document_id, 1)
        if n % 3 == 0:
            await index.documents.delete(org, documents[n].document_id)
        elif n % 3 == 1:
            await upload(index, manager, f"{n}.txt", f"Новая редакция {n}.", document_id=documents[n].document_id)

    await asyncio.gather(*map(live, range(8)))
    assert_statistics_hold(owner_dsn)


async def test_the_queue_reads_what_is_submitted_and_what_was_left(
    index: KnowledgeIndex, manager: Identity, stranger: Identity, owner_dsn: str
) -> None:
    left = await index.add(stranger, "left.txt", "", b"left behind")
    died = await index.add(stranger, "died.txt", "", b"its reader died")
    assert await index.documents.claim(Waiting(stranger.organization_id, died.document_id, 1), "dead") is not None
    with connect(owner_dsn, autocommit=True) as conn:
        conn.execute("UPDATE documents SET lease_until = now() - interval '1 second' WHERE holder = 'dead'")
    queue = IngestQueue(index, workers=2, sweep_seconds=60)
    await queue.start()
    try:
        new = await index.add(manager, "new.txt", "", b"new")
        queue.submit(manager.organization_id, new.document_id, 1)
        queue.submit(manager.organization_id, new.document_id, 1)
        for who, document in ((manager, new), (stranger, left), (stranger, died)):
            ready = await index.wait_ready(who.organization_id, document.document_id, timeout_seconds=20)
            assert ready.status == "ready"
    finally:
        await queue.stop()


async def test_stopping_gives_a_version_back(index: KnowledgeIndex, manager: Identity) -> None:
    document = await index.add(manager, "a.txt", "", (LONG * 20).encode())
    queue = IngestQueue(index, workers=1)
    await queue.start()
    async with asyncio.timeout(20):
        while (await index.documents.get(manager.organization_id, document.document_id)).status == "pending":
            await asyncio.sleep(0)
    await queue.stop()
    left = await index.documents.get(manager.organization_id, document.document_id)
    assert left.status in ("pending", "ready")
    again = await index.ingest(manager.organization_id, document.document_id, 1) or left
    assert again.status == "ready"
