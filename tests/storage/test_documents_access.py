"""Who sees documents in the database: their organisation all of them, the engine ids only, nobody else anything."""

from __future__ import annotations

import pytest
from psycopg import connect
from psycopg.errors import InsufficientPrivilege

from domain.identity import Identity
from domain.ids import OrganizationId, UserId
from storage.database import Database
from storage.documents import Documents, Waiting

TABLES = (
    "documents",
    "document_versions",
    "chunks",
    "chunk_vectors",
    "term_stats",
    "document_terms",
    "knowledge_stats",
    "notes",
)


@pytest.mark.parametrize("table", TABLES)
def test_without_an_organisation_there_is_nothing(app_dsn: str, owner_dsn: str, table: str) -> None:
    with connect(app_dsn) as conn:
        assert conn.execute(f"SELECT * FROM {table}".encode()).fetchall() == []
    with connect(owner_dsn) as conn:
        row = conn.execute(
            "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s::regclass", [table]
        ).fetchone()
    assert row == (True, True)


async def test_the_engine_sees_which_versions_wait_and_no_more(
    db: Database, app_dsn: str, organization: OrganizationId
) -> None:
    documents = Documents(db)
    identity = Identity(organization, "acme", UserId("ann"), frozenset({"manager"}))
    document = await documents.add(identity, "a.txt", "text/plain", b"x", title="Secret")
    assert await documents.waiting() == [Waiting(organization, document.document_id, 1)]
    for sql in (
        "SELECT title FROM documents",
        "UPDATE documents SET status = 'ready'",
        "DELETE FROM documents",
        *(f"SELECT * FROM {table}" for table in TABLES),
    ):
        with connect(app_dsn) as conn:
            conn.execute("SET LOCAL ROLE consilium_engine")
            with pytest.raises(InsufficientPrivilege):
                conn.execute(sql.encode())
