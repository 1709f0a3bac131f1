"""`consilium token`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import cast

import click

from domain.identity import ROLES, Role
from domain.settings import load_settings

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.command(name="token")
@click.option("--organization", required=True, help="What the token's organisation is called; it comes into being with it.")
@click.option("--user", required=True, help="Who the token is for.")
@click.option("--role", "roles", required=True, multiple=True, type=click.Choice(ROLES), help="Repeat for several.")
@click.option("--ttl", default="24h", show_default=True, help="How long it is valid: 90s, 15m, 24h, 30d.")
def command(organization: str, user: str, roles: tuple[str, ...], ttl: str) -> None:
    """Print a token alone on the last line."""
    from server.auth import issue_token

    found = re.fullmatch(r"(\d{1,6})([smhd])", ttl)
    if found is None:
        raise click.BadParameter("must be a number and one of s, m, h, d, such as 24h", param_hint="--ttl")
    valid = timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    click.echo(issue_token(load_settings(), organization, user, [cast(Role, role) for role in roles], valid))
