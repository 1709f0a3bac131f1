"""A reservation that is lost with a crash of the database is charged all the same: it need not wait for the disk."""

from storage.migrations import run_file

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_file(__file__)
