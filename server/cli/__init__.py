"""The command line: one command a file, imported only when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from domain.errors import ConsiliumError

COMMANDS = {
    "serve": "Serve the API (and, with --demo, the sample organisation).",
    "ask": "Ask a question and watch the agents answer.",
    "token": "Issue a token signed with this server's secret.",
    "documents": "List, add, show and delete documents.",
    "migrate": "Bring the database up to date.",
    "graph": "Draw the compiled graphs into docs/graphs.",
    "check": "Check that the database isolates organisations.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"server.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Consilium: agents for organisations, with cited answers."""


def main() -> None:
    """The program. An error of ours is one line on stderr and exit code 1."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ConsiliumError as failed:
        click.echo(f"{failed.code}: {failed.message}", err=True)
        sys.exit(1)
