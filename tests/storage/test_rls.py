"""Organisations are kept apart by the database: every table is tried, and every way to break it is noticed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import Connection, connect, sql
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import DictRow, dict_row

from domain.errors import ConfigurationError
from domain.ids import OrganizationId
from storage.isolation import ENGINE_TABLES, UNSHARED, assert_isolation, isolation_problems

TENANT_TABLES = """
    SELECT c.relname::text AS name FROM pg_class c
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
      AND has_table_privilege('consilium_app', c.oid, 'SELECT')
    ORDER BY 1"""
COLUMNS = """
    SELECT a.attname::text AS name, format_type(a.atttypid, NULL) AS type FROM pg_attribute a
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
      AND NOT a.atthasdef AND a.attidentity = ''"""
SAMPLES = {
    "text": "x",
    "text[]": [],
    "integer[]": [],
    "integer": 1,
    "bigint": 1,
    "jsonb": "{}",
    "bytea": b"x",
    "timestamp with time zone": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "sparsevec": "{1:1}/16777216",
    "boolean": False,
}
CHECKED = {
    ("documents", "status"): "pending",
    ("tool_calls", "status"): "pending",
    ("usage_ledger", "status"): "reserved",
    ("quota_subject_days", "scope"): "user",
    ("quota_exhaustion", "action"): "wait",
    ("rate_limits", "scope"): "user",
    ("rate_states", "scope"): "user",
    ("model_calls", "outcome"): "failed",
    ("chunks", "end_offset"): 2,
    ("embedding_cache", "sha256"): bytes(32),
    ("embedding_cache", "vector"): bytes(4),
    ("mcp_servers", "transport"): "sse",
    ("mcp_servers", "identity"): "user",
    ("mcp_listings", "state"): "ready",
    ("tool_effects", "status"): "completed",
}
"""Values of columns whose CHECK doesn't take the sample of their type."""
APPEND_ONLY = frozenset({"approvals", "audit_log"})
"""Tables whose rows nobody changes or removes, their own organisation included."""


@pytest.fixture
def owner(owner_dsn: str) -> Iterator[Connection[DictRow]]:
    with connect(owner_dsn, row_factory=dict_row) as conn:
        yield conn
        conn.rollback()


@pytest.fixture
def app(app_dsn: str) -> Iterator[Connection[DictRow]]:
    with connect(app_dsn, row_factory=dict_row, autocommit=True) as conn:
        yield conn


def tenant_tables(conn: Connection[DictRow]) -> list[str]:
    return [row["name"] for row in conn.execute(TENANT_TABLES)]


def sample_row(conn: Connection[DictRow], table: str, organization: OrganizationId) -> dict[str, Any]:
    """A row of the organisation that the table takes once its foreign keys are out of the way."""
    row: dict[str, Any] = {}
    for column in conn.execute(COLUMNS, [table]):
        name = column["name"]
        if name == "organization_id":
            row[name] = organization
        elif table.startswith("checkpoint") and name == "thread_id":
            row[name] = f"{organization}:{uuid.uuid4()}"
        elif column["type"] == "uuid":
            row[name] = uuid.uuid4()
        else:
            row[name] = CHECKED.get((table, name), SAMPLES.get(column["type"]))
    return row


def insert(conn: Connection[DictRow], table: str, row: dict[str, Any]) -> None:
    conn.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )


def acting(conn: Connection[DictRow], organization: OrganizationId | None) -> None:
    conn.execute("SELECT set_config('app.organization_id', %s, false)", [organization or ""])


def count(conn: Connection[DictRow], table: str) -> int:
    found = conn.execute(sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier(table))).fetchone()
    assert found is not None
    return int(found["n"])


def test_a_migrated_database_is_isolated(owner: Connection[DictRow], app_dsn: str) -> None:
    assert isolation_problems(owner) == []
    assert_isolation(app_dsn)


def test_every_table_of_the_catalogue_is_a_tenants_or_the_queues(owner: Connection[DictRow]) -> None:
    found = {
        row["name"]
        for row in owner.execute(
            "SELECT relname::text AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
    }
    assert found - set(tenant_tables(owner)) - ENGINE_TABLES == UNSHARED


def test_no_row_crosses_organisations_in_any_table(
    owner: Connection[DictRow],
    app: Connection[DictRow],
    organization: OrganizationId,
    other_organization: OrganizationId,
) -> None:
    tables = tenant_tables(owner)
    assert len(tables) >= 15
    owner.execute("SET session_replication_role = replica")  # foreign keys would have every table filled first
    for table in tables:
        insert(owner, table, sample_row(owner, table, organization))
    owner.commit()

    for table in tables:
        name = sql.Identifier(table)
        key = "thread_id" if table.startswith("checkpoint") else "organization_id"
        touch = sql.SQL("UPDATE {} SET {} = {}").format(name, sql.Identifier(key), sql.Identifier(key))
        for stranger in (other_organization, None):
            acting(app, stranger)
            assert count(app, table) == 0, table
            for change in (touch, sql.SQL("DELETE FROM {}").format(name)):
                if table in APPEND_ONLY:
                    with pytest.raises(InsufficientPrivilege):
                        app.execute(change)
                else:
                    assert app.execute(change).rowcount == 0, table
            with pytest.raises(InsufficientPrivilege):
                insert(app, table, sample_row(owner, table, organization))
        acting(app, organization)
        assert count(app, table) == 1, f"{table}: its own organisation must see the row, or this test shows nothing"
        theirs = f"{other_organization}:x" if key == "thread_id" else other_organization
        with pytest.raises(InsufficientPrivilege):
            app.execute(sql.SQL("UPDATE {} SET {} = %s").format(name, sql.Identifier(key)), [theirs])
        with pytest.raises(InsufficientPrivilege):
            app.execute(sql.SQL("TRUNCATE {}").format(name))


def test_a_prefix_of_an_organisations_id_opens_no_checkpoint(
    owner: Connection[DictRow], app: Connection[DictRow], organization: OrganizationId
) -> None:
    insert(owner, "checkpoints", sample_row(owner, "checkpoints", organization))
    owner.commit()
    acting(app, OrganizationId("00000000-0000-0000-0000-000000000000"))
    assert count(app, "checkpoints") == 0
    assert app.execute("SELECT * FROM checkpoints WHERE thread_id LIKE '%%'").fetchall() == []


def test_the_engine_sees_the_queue_and_no_content(owner: Connection[DictRow], app: Connection[DictRow]) -> None:
    app.execute("SET ROLE consilium_engine")
    for table in set(tenant_tables(owner)) - ENGINE_TABLES:
        with pytest.raises(InsufficientPrivilege):
            app.execute(sql.SQL("SELECT 1 FROM {}").format(sql.Identifier(table)))
    for table, column in [("runs", "kwargs"), ("runs", "error"), ("documents", "title"), ("usage_ledger", "user_id")]:
        with pytest.raises(InsufficientPrivilege):
            app.execute(sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), sql.Identifier(table)))
    with pytest.raises(InsufficientPrivilege):
        app.execute("DELETE FROM runs")


def test_the_application_can_not_become_the_owner(owner: Connection[DictRow], app: Connection[DictRow]) -> None:
    whoever = owner.execute("SELECT current_user::text AS name").fetchone()
    assert whoever is not None
    with pytest.raises(InsufficientPrivilege):
        app.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(whoever["name"])))
    with pytest.raises(InsufficientPrivilege):
        app.execute("CREATE TABLE loot (x int)")
    with pytest.raises(InsufficientPrivilege):
        app.execute("ALTER TABLE notes DISABLE ROW LEVEL SECURITY")


BREAKS = {
    "FORCE dropped": ("ALTER TABLE notes NO FORCE ROW LEVEL SECURITY", "notes does not force"),
    "RLS disabled": ("ALTER TABLE notes DISABLE ROW LEVEL SECURITY", "notes is not under row-level security"),
    "RLS of a checkpoint table disabled": (
        "ALTER TABLE checkpoints DISABLE ROW LEVEL SECURITY",
        "checkpoints is not under",
    ),
    "policy dropped": ("DROP POLICY tenant ON notes", "notes has no policy"),
    "permissive policy": ("CREATE POLICY more ON notes TO consilium_app USING (true)", "policy more of notes"),
    "permissive policy for everybody": ("CREATE POLICY more ON notes USING (true)", "policy more of notes"),
    "policy that checks no write": ("ALTER POLICY tenant ON notes WITH CHECK (true)", "policy tenant of notes"),
    "policy without the setting": (
        "ALTER POLICY tenant ON notes USING (organization_id IS NOT NULL)",
        "policy tenant of notes",
    ),
    "policy that a missing setting opens": (
        "ALTER POLICY tenant ON notes USING "
        "(organization_id = coalesce((SELECT current_organization()), organization_id))",
        "policy tenant of notes",
    ),
    "policy that opens content to the engine": (
        "CREATE POLICY engine ON notes TO consilium_engine USING (true)",
        "policy engine of notes",
    ),
    "content granted to the engine": (
        "GRANT SELECT (text) ON notes TO consilium_engine",
        "notes is granted to consilium_engine",
    ),
    "table of the application's own": (
        "ALTER TABLE notes OWNER TO consilium_app",
        "notes belongs to a role of the application",
    ),
    "BYPASSRLS": ("ALTER ROLE consilium_app BYPASSRLS", "consilium_app is a superuser or has BYPASSRLS"),
    "BYPASSRLS of the engine": (
        "ALTER ROLE consilium_engine BYPASSRLS",
        "consilium_engine is a superuser or has BYPASSRLS",
    ),
    "superuser": ("ALTER ROLE consilium_app SUPERUSER", "consilium_app is a superuser"),
    "a role that bypasses": (
        "CREATE ROLE lifted NOLOGIN BYPASSRLS; GRANT lifted TO consilium_app",
        "consilium_app may become lifted",
    ),
    "view": ("CREATE VIEW peek AS SELECT * FROM notes; GRANT SELECT ON peek TO consilium_app", "view peek"),
    "view with security_invoker off": (
        "CREATE VIEW peek WITH (security_invoker = off) AS SELECT * FROM notes",
        "view peek",
    ),
    "materialised view": ("CREATE MATERIALIZED VIEW peek AS SELECT * FROM notes", "materialised view peek"),
    "SECURITY DEFINER function": (
        "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM notes'",
        "function peek()",
    ),
    "new table": ("CREATE TABLE loot (organization_id uuid, secret text)", "loot is not under row-level security"),
    "new table in another schema": ("CREATE SCHEMA side; CREATE TABLE side.loot (x int)", "side.loot is not under"),
    "new table without policy": (
        "CREATE TABLE loot (x int); ALTER TABLE loot ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "GRANT SELECT ON loot TO consilium_app",
        "loot has no policy",
    ),
    "TRUNCATE granted": ("GRANT TRUNCATE ON notes TO consilium_app", "notes can be truncated"),
    "grant on a table without RLS": ("GRANT SELECT ON alembic_version TO consilium_app", "alembic_version is granted"),
    "grant to PUBLIC": ("GRANT SELECT ON alembic_version TO PUBLIC", "alembic_version is granted"),
    "CREATE granted": ("GRANT CREATE ON SCHEMA public TO consilium_app", "may create tables"),
    "the setting's function replaced": (
        "CREATE OR REPLACE FUNCTION current_organization() RETURNS uuid LANGUAGE sql STABLE AS "
        "$$ SELECT organization_id FROM notes LIMIT 1 $$",
        "current_organization()",
    ),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_isolation_is_noticed(owner: Connection[DictRow], how: str) -> None:
    """Nothing is committed: roles belong to the whole cluster."""
    change, expected = BREAKS[how]
    owner.execute(change.encode())
    assert any(expected in problem for problem in isolation_problems(owner)), how


def test_a_view_with_security_invoker_is_no_hole(owner: Connection[DictRow]) -> None:
    owner.execute("CREATE VIEW fine WITH (security_invoker) AS SELECT * FROM notes")
    assert isolation_problems(owner) == []


def test_working_as_the_owner_is_noticed(owner_dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="the application works as the role"):
        assert_isolation(owner_dsn)


def test_what_is_wrong_is_told_at_start(owner: Connection[DictRow], app_dsn: str) -> None:
    owner.execute("ALTER TABLE notes DISABLE ROW LEVEL SECURITY")
    owner.commit()
    with pytest.raises(ConfigurationError) as told:
        assert_isolation(app_dsn)
    assert told.value.details["problems"] == ["the table notes is not under row-level security"]
