"""`consilium check`."""

from __future__ import annotations

import click

from domain.settings import load_settings


@click.command(name="check")
def check() -> None:
    """Fail, naming every hole, where one organisation could see another's rows."""
    from server.wiring import owner_database
    from storage.isolation import assert_isolation
    from storage.migrate import migrate

    with owner_database(load_settings()) as dsn:
        migrate(dsn)
        assert_isolation(dsn)
    click.echo("Every table isolates organisations.")
