"""What an organisation knows that bears on a question: passages of its documents and its notes, found in one round trip."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from domain.ids import OrganizationId, RunId
from domain.knowledge import Passage
from domain.notes import Note
from retrieval.search import LexicalRetriever, candidates, terms_of
from storage.database import Database
from storage.notes import best_notes, notes_of
from storage.passages import best_chunks, passages_of

AHEAD_SECONDS = 1.0
"""So long is what was found ahead as good as new."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked up: at most so many passages and notes for the query."""

    organization_id: OrganizationId
    query: str
    passages: int
    notes: int


@dataclass(frozen=True, slots=True)
class Recalled:
    """What was found, the best first."""

    passages: list[Passage]
    notes: list[Note]


class Recall:
    """Finds passages as the retriever does, and notes: all of them while they are no more than asked for."""

    def __init__(self, db: Database, retriever: LexicalRetriever) -> None:
        self._db = db
        self._retriever = retriever
        self._ahead: dict[RunId, tuple[Asked, asyncio.Task[Recalled]]] = {}

    def begin(self, run_id: RunId, asked: Asked) -> None:
        """Search for a run that is about to ask this. A result that nobody takes in time is forgotten."""
        found = asyncio.create_task(self._find(asked))
        found.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._ahead[run_id] = asked, found
        asyncio.get_running_loop().call_later(AHEAD_SECONDS, self._ahead.pop, run_id, None)

    async def about(self, asked: Asked, run_id: RunId | None) -> Recalled:
        """What is asked; of the search that was begun for the run, once, where that one asked the same."""
        ahead = self._ahead.pop(run_id, None) if run_id is not None else None
        return await (ahead[1] if ahead is not None and ahead[0] == asked else self._find(asked))

    async def _find(self, asked: Asked) -> Recalled:
        began = time.perf_counter()
        terms = terms_of(asked.query)
        statements = [best_notes(asked.organization_id, terms, asked.notes)]
        if terms and asked.passages > 0:
            statements.append(best_chunks(asked.organization_id, terms, candidates(asked.passages), None))
        notes, *chunks = await self._db.batch_again(asked.organization_id, statements)
        passages = [passage for rows in chunks for passage in passages_of(rows)]
        return Recalled(self._retriever.kept(passages, asked.passages, began), notes_of(notes))
