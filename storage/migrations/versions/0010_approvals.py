"""Approvals of tool calls: who decided what; the ledger of tools' effects; threads that wait for somebody."""

from storage.migrations import run_file

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_file(__file__)
