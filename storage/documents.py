"""Documents, their versions and the lexical index over them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from domain.errors import Conflict, NotFound
from domain.identity import Identity
from domain.ids import DocumentId, OrganizationId, is_uuid, new_id
from domain.knowledge import Document, DocumentStatus, IndexedChunk, ParsedDocument, Passage, Span
from storage.database import Connection, Database, Row
from storage.passages import best_chunks, passages_of
from storage.queries import load

SQL = load("documents")
LEASE_SECONDS = 60
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Waiting:
    """A version that waits to be read."""

    organization_id: OrganizationId
    document_id: DocumentId
    version: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A version this process reads: nobody else does while `holder` renews its lease."""

    organization_id: OrganizationId
    document_id: DocumentId
    version: int
    holder: str
    title: str
    filename: str
    media_type: str

    def params(self) -> dict[str, Any]:
        return {
            "organization_id": self.organization_id,
            "document_id": self.document_id,
            "version": self.version,
            "holder": self.holder,
            "lease_seconds": LEASE_SECONDS,
        }


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of a version's text, what stands before and after it, and the page and section it starts in."""

    document_id: DocumentId
    version: int
    title: str
    page: int | None
    section: str | None
    start: int
    end: int
    text: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a version as they were uploaded."""

    filename: str
    media_type: str
    data: bytes


class Documents:
    """Reads and changes documents. A method given an id that is not in the organisation, or no UUID, raises
    NotFound."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(
        self,
        identity: Identity,
        filename: str,
        media_type: str,
        data: bytes,
        *,
        title: str,
        labels: Sequence[str] = (),
    ) -> Document:
        """Record an upload as a new document, status 'pending'.

        The same bytes under the same file name give the document that is there already, with the labels of both; one that had
        failed waits again.
        """
        params = _upload(identity, filename, media_type, data) | {"title": title, "labels": list(labels)}
        async with self._db.tenant(identity.organization_id) as conn:
            await conn.execute(SQL["lock_upload"].encode(), params)
            same = await _one(conn, "find_same", params)
            if same is not None:
                retried = await _one(conn, "retry", same) if same["status"] == "failed" else None
                both = list(dict.fromkeys([*same["labels"], *labels]))
                labelled = await _one(conn, "label", same | {"labels": both}) if both != same["labels"] else None
                return _document(labelled or retried or same)
            params["document_id"] = new_id()
            row = await _one(conn, "add", params)
            assert row is not None
            await conn.execute(SQL["add_version"].encode(), params | {"version": 1})
            return _document(row)

    async def replace(
        self,
        identity: Identity,
        document_id: DocumentId,
        filename: str,
        media_type: str,
        data: bytes,
        *,
        title: str | None = None,
        labels: Sequence[str] | None = None,
    ) -> Document:
        """Record an upload as a document's next version, status 'pending'. The bytes it already has change nothing."""
        _check(document_id)
        params = _upload(identity, filename, media_type, data)
        params |= {"document_id": document_id, "title": title, "labels": None if labels is None else list(labels)}
        async with self._db.tenant(identity.organization_id) as conn:
            if await _one(conn, "lock", params) is None:
                raise NotFound("document", document_id)
            row = await _one(conn, "get", params)
            assert row is not None
            if row["sha256"] == params["sha256"] and row["filename"] == filename:
                retried = await _one(conn, "retry", params) if row["status"] == "failed" else None
                return _document(retried or row)
            row = await _one(conn, "replace", params)
            assert row is not None
            await conn.execute(SQL["add_version"].encode(), params | {"version": row["version"]})
            return _document(row)

    async def label(self, organization_id: OrganizationId, document_id: DocumentId, labels: Sequence[str]) -> Document:
        """Replace a document's labels. What conversations have read of it before they keep as they read it."""
        _check(document_id)
        params = {"document_id": document_id, "labels": list(labels)}
        row = await self._db.fetch_one(organization_id, SQL["label"], params)
        if row is None:
            raise NotFound("document", document_id)
        return _document(row)

    async def retry(self, organization_id: OrganizationId, document_id: DocumentId) -> Document:
        """Let a failed version wait to be read again. Raises Conflict where the newest one has not failed."""
        _check(document_id)
        row = await self._db.fetch_one(organization_id, SQL["retry"], {"document_id": document_id})
        if row is None:
            known = await self.get(organization_id, document_id)
            raise Conflict(
                f"The document is '{known.status}': only one that failed is read again.", status=known.status
            )
        return _document(row)

    async def get(self, organization_id: OrganizationId, document_id: DocumentId) -> Document:
        _check(document_id)
        row = await self._db.fetch_one(organization_id, SQL["get"], {"document_id": document_id})
        if row is None:
            raise NotFound("document", document_id)
        return _document(row)

    async def page(
        self,
        organization_id: OrganizationId,
        *,
        status: DocumentStatus | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[Document], int]:
        """A page of documents, newest first, and how many match in all."""
        params = {"organization_id": organization_id, "status": status, "limit": limit, "offset": offset}
        rows = await self._db.fetch_all(organization_id, SQL["list"], params)
        if rows:
            return [_document(row) for row in rows], int(rows[0]["total"])
        counted = await self._db.fetch_one(organization_id, SQL["count"], params)
        return [], int(counted["total"]) if counted else 0

    async def delete(self, organization_id: OrganizationId, document_id: DocumentId) -> None:
        """Remove a document, its versions and its part of the index."""
        _check(document_id)
        params = {"organization_id": organization_id, "document_id": document_id}
        async with self._db.tenant(organization_id) as conn:
            await conn.execute(SQL["lock_statistics"].encode(), params)
            await conn.execute(SQL["remove_chunks"].encode(), params)
            await conn.execute(SQL["drop_unused_terms"].encode(), params)
            if await _one(conn, "delete", params) is None:
                raise NotFound("document", document_id)

    async def content(self, organization_id: OrganizationId, document_id: DocumentId, version: int) -> Content:
        """The bytes of a version. Raises NotFound also for a version that never was."""
        row = await self._version(organization_id, "content", document_id, version)
        return Content(row["filename"], row["media_type"], bytes(row["content"]))

    async def text(self, organization_id: OrganizationId, document_id: DocumentId, version: int) -> ParsedDocument:
        """The parsed text of a version. Raises NotFound also for one that isn't read yet."""
        row = await self._version(organization_id, "text", document_id, version)
        return ParsedDocument(row["text"], tuple(Span(*span) for span in row["spans"]), row["pages"])

    async def passage(
        self,
        organization_id: OrganizationId,
        document_id: DocumentId,
        version: int,
        start: int,
        end: int,
        *,
        context: int = 400,
    ) -> Excerpt:
        """The text from `start` to `end` with up to `context` characters on either side.

        Raises NotFound where the version has no such characters (an empty or reversed range included).
        """
        if not 0 <= start < end < 2**31 - 1 - context:
            raise NotFound("passage", f"{document_id}/{version}/{start}-{end}")
        row = await self._version(
            organization_id, "passage", document_id, version, {"start": start, "end": end, "context": context}
        )
        if end > row["total"]:
            raise NotFound("passage", f"{document_id}/{version}/{start}-{end}")
        span = Span(*row["span"]) if row["span"] else Span(0, 0)
        return Excerpt(
            document_id,
            version,
            row["title"],
            span.page,
            span.section,
            start,
            end,
            row["text"],
            row["before"],
            row["after"],
        )

    async def _version(
        self,
        organization_id: OrganizationId,
        query: str,
        document_id: DocumentId,
        version: int,
        params: dict[str, Any] | None = None,
    ) -> Row:
        if not (is_uuid(document_id) and 0 < version < 2**31):
            raise NotFound("document version", f"{document_id}/{version}")
        params = {"document_id": document_id, "version": version, **(params or {})}
        row = await self._db.fetch_one(organization_id, SQL[query], params)
        if row is None:
            raise NotFound("document version", f"{document_id}/{version}")
        return row

    async def search(
        self,
        organization_id: OrganizationId,
        terms: Sequence[str],
        k: int,
        document_ids: Sequence[DocumentId] | None = None,
    ) -> list[Passage]:
        """At most `k` passages by BM25, best first, score > 0; `terms` are distinct and come from the analyser that
        indexed the chunks."""
        if not terms or k < 1 or not (document_ids is None or all(map(is_uuid, document_ids))):
            return []
        return passages_of(
            await self._db.fetch_all(organization_id, *best_chunks(organization_id, terms, k, document_ids))
        )

    async def waiting(self, limit: int = 1000) -> list[Waiting]:
        """Versions of every organisation that nobody reads at the moment, oldest first. Ids only."""
        async with self._db.engine() as conn:
            cursor = await conn.execute(SQL["waiting"].encode(), {"limit": limit})
            rows = await cursor.fetchall()
        return [Waiting(row["organization_id"], row["document_id"], row["version"]) for row in rows]

    async def claim(self, item: Waiting, holder: str) -> Claim | None:
        """Take a version to read for LEASE_SECONDS; None where it is taken, done, replaced or gone."""
        params = {
            "document_id": item.document_id,
            "version": item.version,
            "holder": holder,
            "lease_seconds": LEASE_SECONDS,
        }
        row = await self._db.fetch_one(item.organization_id, SQL["claim"], params)
        if row is None:
            return None
        return Claim(
            item.organization_id,
            item.document_id,
            item.version,
            holder,
            row["title"],
            row["filename"],
            row["media_type"],
        )

    async def advance(self, claim: Claim, status: DocumentStatus, progress: float) -> bool:
        """Show progress (0..1) and renew the lease; False where the version is no longer this process's."""
        params = claim.params() | {"status": status, "progress": progress}
        return await self._db.fetch_one(claim.organization_id, SQL["advance"], params) is not None

    async def renew(self, claim: Claim) -> bool:
        """Renew the lease; False where the version is no longer this process's."""
        return await self._db.fetch_one(claim.organization_id, SQL["renew"], claim.params()) is not None

    async def release(self, claim: Claim) -> None:
        """Give the version back, to be read by whoever comes next."""
        await self._db.execute(claim.organization_id, SQL["release"], claim.params())

    async def fail(self, claim: Claim, error: dict[str, Any]) -> None:
        """Record that the version can't be read; what was searchable stays so."""
        await self._db.execute(claim.organization_id, SQL["fail"], claim.params() | {"error": Jsonb(error)})

    async def publish(
        self, claim: Claim, parsed: ParsedDocument, chunks: Sequence[IndexedChunk], frequencies: dict[str, int]
    ) -> bool:
        """Make the version the searchable one, in one transaction. `frequencies` counts the chunks each term occurs in.

        False, and nothing changed, where the version is no longer this process's (deleted, replaced, taken over).
        """
        params = claim.params()
        async with self._swap(claim) as conn:
            if await _one(conn, "lock_held", params) is None:
                return False
            await conn.execute(SQL["remove_chunks"].encode(), params)
            for first in range(0, len(chunks), _BATCH):
                await conn.execute(SQL["add_chunks"].encode(), params | _columns(chunks[first : first + _BATCH]))
            terms = sorted(frequencies)
            counts = [frequencies[term] for term in terms]
            await conn.execute(
                SQL["add_terms"].encode(), params | {"terms": terms, "counts": counts, "chunks": len(chunks)}
            )
            if claim.version > 1:
                await conn.execute(SQL["drop_unused_terms"].encode(), params)
            spans = Jsonb([[span.start, span.end, span.page, span.section] for span in parsed.spans])
            await conn.execute(
                SQL["save_text"].encode(), params | {"text": parsed.text, "spans": spans, "pages": parsed.pages}
            )
            await conn.execute(SQL["make_ready"].encode(), params | {"pages": parsed.pages, "chunks": len(chunks)})
        return True

    @asynccontextmanager
    async def _swap(self, claim: Claim) -> AsyncIterator[Connection]:
        async with self._db.tenant(claim.organization_id) as conn:
            # Before the document's own row, in the same order as delete(): no deadlock between the two.
            await conn.execute(SQL["lock_statistics"].encode(), claim.params())
            yield conn


def _check(document_id: str) -> None:
    if not is_uuid(document_id):
        raise NotFound("document", document_id)


def _upload(identity: Identity, filename: str, media_type: str, data: bytes) -> dict[str, Any]:
    return {
        "organization_id": identity.organization_id,
        "filename": filename,
        "media_type": media_type,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "content": data,
        "created_by": identity.user_id,
    }


async def _one(conn: Connection, query: str, params: dict[str, Any]) -> Row | None:
    cursor = await conn.execute(SQL[query].encode(), params)
    return await cursor.fetchone()


def _document(row: Row) -> Document:
    return Document.model_validate({key: value for key, value in row.items() if key != "total"})


def _columns(batch: Sequence[IndexedChunk]) -> dict[str, list[Any]]:
    return {
        "pages": [item.chunk.page for item in batch],
        "sections": [item.chunk.section for item in batch],
        "starts": [item.chunk.start for item in batch],
        "ends": [item.chunk.end for item in batch],
        "texts": [item.chunk.text for item in batch],
        "lexicals": [item.lexical for item in batch],
        "lengths": [item.length for item in batch],
    }
