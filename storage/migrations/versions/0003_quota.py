"""Token limits, their days, the usage ledger."""

from storage.migrations import run_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_file(__file__)
