"""The index over a test's database, and someone who may change it."""

from __future__ import annotations

import pytest

from domain.identity import Identity
from domain.ids import OrganizationId, UserId
from retrieval.index import KnowledgeIndex
from retrieval.search import LexicalRetriever
from storage.database import Database


@pytest.fixture
def index(db: Database) -> KnowledgeIndex:
    return KnowledgeIndex(db)


@pytest.fixture
def retriever(index: KnowledgeIndex) -> LexicalRetriever:
    return LexicalRetriever(index.documents)


@pytest.fixture
def manager(organization: OrganizationId) -> Identity:
    return Identity(organization, "acme", UserId("ann"), frozenset({"manager"}))


@pytest.fixture
def stranger(other_organization: OrganizationId) -> Identity:
    return Identity(other_organization, "other", UserId("bob"), frozenset({"manager"}))
