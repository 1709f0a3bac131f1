"""Alembic migrations: versions/NNNN_what.py runs versions/NNNN_what.sql."""

from __future__ import annotations

from pathlib import Path

from alembic import op


def run_sql(sql: str) -> None:
    """Run statements as they stand: no parameters, no interpolation of % or :."""
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(sql.encode())


def run_file(migration: str) -> None:
    """Run the .sql file that stands beside a migration (pass `__file__`)."""
    run_sql(Path(migration).with_suffix(".sql").read_text("utf-8"))
