"""A run that is taken by the replica that accepts it never waits in the queue."""

from storage.migrations import run_file

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_file(__file__)
