"""The transitions of runs that every turn makes, one statement each."""

from storage.migrations import run_file

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_file(__file__)
