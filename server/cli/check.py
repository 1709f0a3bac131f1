"""`consilium check`."""

from __future__ import annotations

import click

from domain.settings import load_settings


@click.command(name="check")
def check() -> None:
    """Fail, naming every hole, where one organisation could see another's rows."""
    from server.wiring import application_dsn, owner_database
    from storage.isolation import assert_isolation
    from storage.migrate import migrate

    settings = load_settings()
    with owner_database(settings) as dsn:
        migrate(dsn)
        assert_isolation(application_dsn(settings, dsn))
    click.echo("Every table isolates organisations.")
