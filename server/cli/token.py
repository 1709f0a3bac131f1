"""`consilium token`."""

from __future__ import annotations

import re
from datetime import timedelta

import click

from domain.identity import ROLES, Role

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType):
    """30s, 15m, 12h or 7d; a bare number counts seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([1-9]\d{0,8})([smhd]?)", str(value))
        if found is None:
            self.fail(f"'{value}' is no duration; write 30s, 15m, 12h or 7d", param, ctx)
        return timedelta(seconds=int(found[1]) * _UNITS[found[2] or "s"])


@click.command()
@click.option("--organization", required=True, help="Its name at your identity provider, or its UUID.")
@click.option("--user", required=True, help="The user's id.")
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, default=["member"], show_default=True)
@click.option("--ttl", type=Duration(), default="12h", show_default=True, help="How long it is valid.")
def token(organization: str, user: str, roles: tuple[Role, ...], ttl: timedelta) -> None:
    """Print a token signed with this server's secret: it alone is the last line of the output."""
    from domain.settings import load_settings
    from server.auth import issue_token

    click.echo(issue_token(load_settings(), organization, user, roles, ttl))
