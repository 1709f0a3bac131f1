"""MCP servers of organisations."""

from storage.migrations import run_file

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_file(__file__)
