"""Organisations, threads, runs, events, tool calls, checkpoints, the queue; roles and row-level security."""

from procrastinate.schema import SchemaManager

from storage.migrations import run_file, run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql(SchemaManager.get_schema())
    run_file(__file__)
