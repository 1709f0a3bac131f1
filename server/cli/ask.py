"""`consilium ask`."""

from __future__ import annotations

import sys

import click

from server.cli.connection import connect, connection_options
from server.cli.decide import answers, offer
from server.cli.terminal import words_for
from server.cli.turn import as_json, follow, tell


@click.command()
@click.argument("text")
@click.option("--thread", "thread_id", help="A conversation to continue.")
@click.option("--assistant", default="supervisor", show_default=True, help="Whom to ask.")
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object at the end instead.")
@connection_options
def ask(
    text: str, thread_id: str | None, assistant: str, json_output: bool, url: str | None, token: str | None
) -> None:
    """Ask TEXT; the answer streams with its sources. Ctrl-C cancels the run.

    What an agent may not do without a person is asked about here, or left to `consilium decide` where nobody is at the terminal.
    """
    if not text.strip():
        raise click.UsageError("TEXT is empty: ask something")
    connection, words = connect(url, token), words_for(text)
    question = {"messages": [{"role": "user", "content": text}]}
    turn = follow(connection, assistant, thread_id, as_json=json_output, title=_title(text), input=question)
    while turn.transcript.interrupts and not json_output and sys.stdin.isatty():
        command = {"resume": answers(turn.transcript.interrupts, words)}
        turn = follow(connection, assistant, turn.thread_id, as_json=False, command=command)
    if json_output:
        click.echo(as_json(turn))
        return
    tell(turn, words, connection.url)
    offer(turn, words)


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79].rstrip() + "…"
