"""Whether the database holds what it must hold: the checker run after every fault test and by `consilium check`."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import connect
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import dict_row

from domain.errors import ConfigurationError
from storage.queries import load

Q = load("invariants")
LIMIT = 20
"""Violations told of one invariant."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One row that breaks an invariant."""

    invariant: str
    """Its query's name in storage/sql/invariants.sql."""
    subject: str
    problem: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.subject}: {self.problem}"


def violations(owner_dsn: str) -> list[Violation]:
    """What is broken now, at most LIMIT rows an invariant; [] where everything holds. The owner sees all organisations.

    One snapshot for all: what runs meanwhile doesn't show as broken. Raises ConfigurationError where the role doesn't see all.
    """
    found: list[Violation] = []
    with connect(owner_dsn, row_factory=dict_row) as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        conn.execute("SET LOCAL row_security = off")
        for name, sql in Q.items():
            try:
                rows = conn.execute(sql.encode()).fetchmany(LIMIT)
            except InsufficientPrivilege as blind:
                raise ConfigurationError(
                    "The database's owner is bound by row-level security, so the invariants can't be checked as it. "
                    "Fix: run the check with a DATABASE_URL of a role that has BYPASSRLS."
                ) from blind
            found += [Violation(name, row["subject"], row["problem"]) for row in rows]
    return found
