"""`consilium migrate`."""

from __future__ import annotations

import click

from domain.settings import load_settings


@click.command(name="migrate")
def command() -> None:
    """Apply the migrations that are missing; safe while other replicas start."""
    from server.wiring import owner_database
    from storage.migrate import migrate

    with owner_database(load_settings()) as dsn:
        click.echo(f"The database is at revision {migrate(dsn)}.")
