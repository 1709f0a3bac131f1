"""Model policies of organisations and users; documents that stay on the premises."""

from storage.migrations import run_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_file(__file__)
