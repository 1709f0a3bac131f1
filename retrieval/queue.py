"""Reading uploads in the background, a few at a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from domain.ids import DocumentId, OrganizationId
from retrieval.index import KnowledgeIndex
from storage.documents import Waiting

log = structlog.get_logger(__name__)


class IngestQueue:
    """Reads waiting versions of all organisations with `workers` at a time.

    What is submitted here starts at once. A sweep every `sweep_seconds`, the first at start, takes up what another
    process has left: uploads it accepted and never read, and those whose reader died.
    """

    def __init__(self, index: KnowledgeIndex, *, workers: int = 2, sweep_seconds: float = 15) -> None:
        self._index = index
        self._workers = workers
        self._sweep_seconds = sweep_seconds
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._known: set[Waiting] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the workers and the sweep. Call `stop` at the end."""
        self._tasks = [asyncio.create_task(self._work(), name=f"ingest-{n}") for n in range(self._workers)]
        self._tasks.append(asyncio.create_task(self._sweep(), name="ingest-sweep"))

    async def stop(self) -> None:
        """Stop within a moment; versions being read go back and are read after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def submit(self, organization_id: OrganizationId, document_id: DocumentId, version: int) -> None:
        """Have a version read as soon as a worker is free."""
        item = Waiting(organization_id, document_id, version)
        if item not in self._known:
            self._known.add(item)
            self._queue.put_nowait(item)

    async def _work(self) -> None:
        while True:
            item = await self._queue.get()
            try:
                await self._index.ingest(item.organization_id, item.document_id, item.version)
            except (DatabaseError, PoolTimeout) as lost:
                log.warning("ingestion postponed", document_id=item.document_id, error=type(lost).__name__)
            finally:
                self._known.discard(item)

    async def _sweep(self) -> None:
        while True:
            with suppress(DatabaseError, PoolTimeout):  # the next round asks again
                for item in await self._index.documents.waiting():
                    self.submit(item.organization_id, item.document_id, item.version)
            await asyncio.sleep(self._sweep_seconds)
