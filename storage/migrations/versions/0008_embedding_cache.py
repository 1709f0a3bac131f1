"""Embeddings by content hash."""

from storage.migrations import run_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_file(__file__)
