"""Search in an organisation's documents."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document as LangChainDocument
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from domain.ids import DocumentId, OrganizationId
from domain.knowledge import Passage
from retrieval.analyse import analyse
from storage.documents import Documents

MAX_QUERY_CHARACTERS = 4000
_MAX_QUERY_TERMS = 200
Observer = Callable[[float, int], None]
"""Is told of every search: its seconds and how many passages it found."""


class LexicalRetriever:
    """BM25 over the current versions of an organisation's documents; no model, no network. The observers must not fail and must not
    wait."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self.observers: list[Observer] = []

    async def search(
        self,
        organization_id: OrganizationId,
        query: str,
        k: int,
        document_ids: Sequence[DocumentId] | None = None,
    ) -> list[Passage]:
        """At most `k` passages, best first, scores > 0; empty where no word of the query is in the documents.

        A passage that overlaps a better one by more than half is left out. Only the first MAX_QUERY_CHARACTERS count.
        """
        began = time.perf_counter()
        found = await self._documents.search(organization_id, terms_of(query), candidates(k), document_ids)
        return self.kept(found, k, began)

    def kept(self, found: Sequence[Passage], k: int, began: float) -> list[Passage]:
        """The end of a search that began at `began` (of time.perf_counter): at most `k` of what it found, none twice."""
        kept: list[Passage] = []
        for passage in found:
            if not any(_same(passage, other) for other in kept):
                kept.append(passage)
        for observer in self.observers:
            observer(time.perf_counter() - began, len(kept[:k]))
        return kept[:k]

    def as_langchain(self, organization_id: OrganizationId, k: int = 5) -> BaseRetriever:
        """The same search as a LangChain retriever bound to one organisation (async only)."""
        return OrganizationRetriever(retriever=self, organization_id=organization_id, k=k)


class OrganizationRetriever(BaseRetriever):
    """LangChain's face of a LexicalRetriever. A document's metadata is its passage without the text."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    retriever: LexicalRetriever
    organization_id: OrganizationId
    k: int = 5

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[LangChainDocument]:
        passages = await self.retriever.search(self.organization_id, query, self.k)
        return [
            LangChainDocument(id=p.chunk_id, page_content=p.text, metadata=p.model_dump(exclude={"text"}))
            for p in passages
        ]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[LangChainDocument]:
        raise NotImplementedError("This retriever reads the database asynchronously: use ainvoke.")


def terms_of(query: str) -> list[str]:
    """What a query is looked up by; only its first MAX_QUERY_CHARACTERS count."""
    return list(dict.fromkeys(analyse(query[:MAX_QUERY_CHARACTERS])))[:_MAX_QUERY_TERMS]


def candidates(k: int) -> int:
    """How many chunks to look for where `k` passages are wanted: some overlap."""
    return k + k // 2 + 1 if k > 0 else 0


def _same(passage: Passage, other: Passage) -> bool:
    if (passage.document_id, passage.version) != (other.document_id, other.version):
        return False
    shared = min(passage.end, other.end) - max(passage.start, other.start)
    return shared * 2 > passage.end - passage.start
