"""Documents, their versions and chunks, term statistics, notes."""

from storage.migrations import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_file(__file__)
