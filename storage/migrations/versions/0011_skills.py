"""Skills of organisations: their versions, which one is in force; the log of who changed what."""

from storage.migrations import run_file

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_file(__file__)
