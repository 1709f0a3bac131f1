"""Limits of users and models, request rates, what exhaustion does."""

from storage.migrations import run_file

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_file(__file__)
