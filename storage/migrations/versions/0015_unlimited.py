"""A reservation looks for no limits where there are none."""

from storage.migrations import run_file

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run_file(__file__)
