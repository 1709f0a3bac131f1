"""`consilium check`."""

from __future__ import annotations

import click

from domain.settings import load_settings


@click.command(name="check")
def check() -> None:
    """Fail, naming every hole, where one organisation could see another's rows or the database breaks an invariant."""
    from server.wiring import application_dsn, owner_database
    from storage.invariants import violations
    from storage.isolation import assert_isolation
    from storage.migrate import migrate

    settings = load_settings()
    with owner_database(settings) as dsn:
        migrate(dsn)
        assert_isolation(application_dsn(settings, dsn))
        click.echo("Every table isolates organisations.")
        broken = violations(dsn)
    for violation in broken:
        click.echo(str(violation), err=True)
    if broken:
        raise SystemExit(1)
    click.echo("Every invariant holds.")
