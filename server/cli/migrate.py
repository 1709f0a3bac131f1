"""`consilium migrate`."""

from __future__ import annotations

import click


@click.command()
def migrate() -> None:
    """Bring the database (DATABASE_URL, or the embedded one) to the newest schema; safe to run several at once."""
    from domain.settings import load_settings
    from server.wiring import owner_database
    from storage import migrate as migration

    with owner_database(load_settings()) as dsn:
        before = migration.current(dsn)
        after = migration.migrate(dsn)
    click.echo(f"The database is at revision {after}" + (" already." if before == after else f" (it was at {before})."))
