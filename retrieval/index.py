"""From an upload to searchable chunks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import PurePath
from typing import Any

import structlog
from psycopg import OperationalError

from domain.errors import ConsiliumError, DocumentUnreadable
from domain.identity import Identity
from domain.ids import DocumentId, OrganizationId, new_id
from domain.knowledge import Chunk, Document, IndexedChunk, ParsedDocument
from domain.lexical import vector
from domain.text import clean
from retrieval.analyse import analyse
from retrieval.chunk import chunk
from retrieval.formats import MEDIA_TYPES, format_of
from retrieval.parse import parse_in_thread
from storage.database import Database
from storage.documents import LEASE_SECONDS, Claim, Documents, Waiting

log = structlog.get_logger(__name__)

MAX_TITLE = 300
_MAX_FILENAME = 255
_MAX_LABELS = 20
_BATCH = 200
_WAIT_SECONDS = 0.05


class Superseded(Exception):
    """The version was deleted, replaced or taken over while it was being read. Repair: none, another reader has it."""


class KnowledgeIndex:
    """Records uploads and reads them into the index."""

    def __init__(self, db: Database) -> None:
        self.documents = Documents(db)
        self._process = new_id()

    async def add(
        self,
        identity: Identity,
        filename: str,
        media_type: str,
        data: bytes,
        title: str | None = None,
        labels: Sequence[str] | None = None,
        document_id: DocumentId | None = None,
    ) -> Document:
        """Record an upload, status 'pending', and return at once; with `document_id`, as its next version.

        The same bytes under the same name give the document as it is. Raises Unsupported for a format that isn't read,
        NotFound for a `document_id` that isn't in the organisation.
        """
        name = clean(PurePath(filename.replace("\\", "/")).name)[-_MAX_FILENAME:] or "document"
        media_type = MEDIA_TYPES[format_of(name, media_type)]
        given = " ".join(clean(title or "").split())[:MAX_TITLE] or None
        tags = None if labels is None else clean_labels(labels)
        if document_id is not None:
            return await self.documents.replace(identity, document_id, name, media_type, data, title=given, labels=tags)
        title = given or PurePath(name).stem.replace("_", " ").strip() or name
        return await self.documents.add(identity, name, media_type, data, title=title, labels=tags or [])

    async def ingest(self, organization_id: OrganizationId, document_id: DocumentId, version: int) -> Document | None:
        """Read a waiting version: parse, chunk, index, publish. Returns the record afterwards; None where someone
        else has it.

        A file that can't be read ends as status 'failed' with the reason, and does not raise. A lost database does
        raise and leaves the version to be taken again when its lease ends.
        """
        waiting = Waiting(organization_id, document_id, version)
        claiming = asyncio.ensure_future(self.documents.claim(waiting, f"{self._process}:{new_id()}"))
        try:
            claim = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # the database may have granted it all the same: it would lie there until its lease ends
            if (granted := await claiming) is not None:
                await self.documents.release(granted)
            raise
        if claim is None:
            return None
        try:
            async with self._keeping_lease(claim):
                await self._read(claim)
        except Superseded:
            log.info("ingestion superseded", document_id=document_id, version=version)
            return None
        except asyncio.CancelledError:
            await self.documents.release(claim)
            raise
        except ConsiliumError as unreadable:
            await self.documents.fail(claim, _record(unreadable))
        except OperationalError:
            raise
        except Exception:
            # Whatever a parser trips over in one file must not stop the others; the reason is in the log.
            log.exception("ingestion failed", document_id=document_id, version=version)
            error = DocumentUnreadable("unknown", "The file could not be read; the server's log has the reason.")
            await self.documents.fail(claim, _record(error))
        return await self.documents.get(organization_id, document_id)

    async def wait_ready(
        self, organization_id: OrganizationId, document_id: DocumentId, *, timeout_seconds: float = 60
    ) -> Document:
        """The record once its newest version is ready or failed. Raises TimeoutError, NotFound."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                document = await self.documents.get(organization_id, document_id)
                if document.status in ("ready", "failed"):
                    return document
                await asyncio.sleep(_WAIT_SECONDS)

    async def _read(self, claim: Claim) -> None:
        content = await self.documents.content(claim.organization_id, claim.document_id, claim.version)
        parsed = await parse_in_thread(claim.filename, claim.media_type, content.data)
        await self._advance(claim, 0.3)
        chunks = await asyncio.to_thread(lambda: list(chunk(parsed)))
        indexed: list[IndexedChunk] = []
        frequencies: Counter[str] = Counter()
        for first in range(0, len(chunks), _BATCH):
            indexed += await asyncio.to_thread(_index, claim.title, chunks[first : first + _BATCH], frequencies)
            if len(chunks) > _BATCH:
                await self._advance(claim, 0.3 + 0.5 * len(indexed) / len(chunks))
        await self._publish(claim, parsed, indexed, frequencies)

    async def _publish(
        self, claim: Claim, parsed: ParsedDocument, indexed: list[IndexedChunk], frequencies: Counter[str]
    ) -> None:
        if not await self.documents.publish(claim, parsed, indexed, frequencies):
            raise Superseded

    async def _advance(self, claim: Claim, progress: float) -> None:
        if not await self.documents.advance(claim, "indexing", progress):
            raise Superseded

    @asynccontextmanager
    async def _keeping_lease(self, claim: Claim) -> AsyncIterator[None]:
        async def renew() -> None:
            while True:
                await asyncio.sleep(LEASE_SECONDS / 3)
                await self.documents.renew(claim)

        renewal = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewal.cancel()
            with suppress(asyncio.CancelledError, OperationalError):
                await renewal


def _index(title: str, chunks: Sequence[Chunk], frequencies: Counter[str]) -> list[IndexedChunk]:
    """Vectors of a batch over title, section and text; adds to `frequencies` in how many chunks each term is."""
    indexed: list[IndexedChunk] = []
    title_terms = analyse(title)
    section: str | None = None
    section_terms: list[str] = []
    for piece in chunks:
        if piece.section != section:
            section, section_terms = piece.section, analyse(piece.section or "")
        terms = title_terms + section_terms + analyse(piece.text)
        frequencies.update(set(terms))
        indexed.append(IndexedChunk(piece, vector(terms), len(terms)))
    return indexed


def clean_labels(labels: Sequence[str]) -> list[str]:
    """Labels as they are stored: cleaned, each once, at most 20 of at most 100 characters."""
    cleaned = (clean(label).strip()[:100] for label in labels)
    return list(dict.fromkeys(label for label in cleaned if label))[:_MAX_LABELS]


def _record(error: ConsiliumError) -> dict[str, Any]:
    """An error as a document's record keeps it."""
    return {"code": error.code, "message": error.message, "details": error.details}
