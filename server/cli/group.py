"""The group of all commands; a command's module is imported when the command is named."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import click

from domain.errors import ConsiliumError
from server.cli.terminal import Failure

COMMANDS: Final = {
    "serve": "Serve the API (and with --demo a sample organisation).",
    "ask": "Ask a question; the answer streams with its sources.",
    "decide": "Approve, change or reject what waits for a person.",
    "documents": "List, add, show and delete the organisation's documents.",
    "token": "Issue a token for a user of an organisation.",
    "migrate": "Bring the database to the newest schema.",
    "graph": "Draw the compiled graphs into docs/graphs.",
    "mcp-amocrm": "Serve an amoCRM account's tools over MCP.",
    "check": "Check that the database isolates organisations.",
}


class LazyGroup(click.Group):
    """Lists COMMANDS and loads `server.cli.<name>` on use; a ConsiliumError becomes one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"server.cli.{module}"), module)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConsiliumError as failed:
            problems = failed.details.get("problems")
            message = "\n".join(["", *(f"  {problem}" for problem in problems)]) if problems else failed.message
            raise Failure(failed.code, message) from failed


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def consilium() -> None:
    """Consilium: agents for organisations, with cited answers."""
