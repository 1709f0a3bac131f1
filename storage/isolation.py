"""Whether the database still keeps the organisations apart, as its catalogue says. Checked at start and by tests.

What is not known to be safe counts as broken: a policy must be one of the expressions below, word for word, and what
the run engine sees of all organisations is a closed list of tables.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection, connect
from psycopg.rows import DictRow, dict_row

from domain.errors import ConfigurationError
from storage.queries import load

Q = load("isolation")
APP = "consilium_app"
ENGINE = "consilium_engine"
ENGINE_TABLES = frozenset(
    {
        "runs",
        "documents",
        "usage_ledger",
        "embedding_cache",
        "provider_breakers",
        "procrastinate_jobs",
        "procrastinate_events",
        "procrastinate_workers",
        "procrastinate_periodic_defers",
    }
)
"""Tables of which the engine's role sees all organisations; of the first four only the columns granted to it."""
UNSHARED = frozenset({"alembic_version"})
"""Tables without row-level security, which our roles must not reach at all."""
TENANT = frozenset(
    {
        "(organization_id = ( SELECT current_organization() AS current_organization))",
        "starts_with(thread_id, ( SELECT ((current_organization())::text || ':'::text)))",
    }
)
_BODY = "SELECT nullif(current_setting('app.organization_id', true), '')::uuid"


def assert_isolation(app_dsn: str) -> None:
    """Check the database behind the DSN the application uses.

    Raises ConfigurationError with every problem found, in `details.problems` one by one.
    """
    with connect(app_dsn, row_factory=dict_row) as conn:
        role = str(_rows(conn, "who")[0]["name"])
        problems = isolation_problems(conn)
    if role != APP:
        problems.insert(0, f"the application works as the role {role}, not as {APP}")
    if problems:
        raise ConfigurationError(
            "The database doesn't keep organisations apart: " + "; ".join(problems), problems=problems
        )


def isolation_problems(conn: Connection[DictRow]) -> list[str]:
    """Everything in the catalogue by which one organisation could reach another's rows; [] where there is nothing.

    Any role may ask. Changes of the connection's own open transaction are seen.
    """
    return [*_roles(conn), *_tables(conn), *_policies(conn), *_bypasses(conn)]


def _roles(conn: Connection[DictRow]) -> list[str]:
    rows = {row["role"]: row for row in _rows(conn, "roles")}
    problems = [f"the role {name} is missing" for name in (APP, ENGINE) if name not in rows]
    for name, row in rows.items():
        if row["unbound"]:
            problems.append(f"the role {name} is a superuser or has BYPASSRLS")
        if row["creates_roles"]:
            problems.append(f"the role {name} may create roles")
        if row["may_become"] and not row["unbound"]:
            problems.append(f"the role {name} may become {', '.join(row['may_become'])}")
        if row["creates"]:
            problems.append(f"the role {name} may create tables and functions in the schema public")
    return problems


def _tables(conn: Connection[DictRow]) -> list[str]:
    problems = []
    for row in _rows(conn, "tables"):
        name = row["name"]
        reached = row["app"] or row["engine"]
        if row["owned"]:
            problems.append(f"the table {name} belongs to a role of the application")
        if row["truncates"]:
            problems.append(f"the table {name} can be truncated by a role of the application")
        if name in UNSHARED:
            if reached:
                problems.append(f"the table {name} is granted to a role of the application")
        elif row["kind"] == "f":
            problems.append(f"the foreign table {name} can't be under row-level security")
        elif not row["enabled"]:
            problems.append(f"the table {name} is not under row-level security")
        elif not row["forced"]:
            problems.append(f"the table {name} does not force row-level security on its owner")
        if row["engine"] and name not in ENGINE_TABLES:
            problems.append(f"the table {name} is granted to {ENGINE}")
    return problems


def _policies(conn: Connection[DictRow]) -> list[str]:
    policies = _rows(conn, "policies")
    problems = [
        f"the policy {row['name']} of {row['table']} lets {', '.join(row['roles'])} see more than one organisation"
        for row in policies
        if row["permissive"] and not _is_safe(row)
    ]
    covered = {row["table"] for row in policies if row["permissive"] and APP in row["roles"]}
    granted = (row["name"] for row in _rows(conn, "tables") if row["app"] and row["name"] not in UNSHARED)
    return problems + [f"the table {name} has no policy for {APP}" for name in granted if name not in covered]


def _is_safe(policy: dict[str, Any]) -> bool:
    if policy["roles"] == [ENGINE]:
        return policy["table"] in ENGINE_TABLES
    given = [policy[part] for part in ("using", "check") if policy[part] is not None]
    return bool(given) and all(expression in TENANT for expression in given)


def _bypasses(conn: Connection[DictRow]) -> list[str]:
    problems = [
        f"the {'materialised view' if row['kind'] == 'm' else 'view'} {row['name']} looks past row-level security"
        for row in _rows(conn, "views")
    ]
    problems += [f"the function {row['name']} runs with its owner's rights" for row in _rows(conn, "definer_functions")]
    body = _rows(conn, "current_organization")
    if not body or not body[0]["is_sql"] or body[0]["body"].strip() != _BODY:
        problems.append("the function current_organization() is not the one of the migrations")
    return problems


def _rows(conn: Connection[DictRow], query: str) -> list[DictRow]:
    return conn.execute(Q[query].encode()).fetchall()
