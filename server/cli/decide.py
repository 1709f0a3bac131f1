"""`consilium decide`: what an agent may not do without a person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from server.cli.connection import Connection, connect, connection_options
from server.cli.terminal import Failure, Words, clean, failure_of, words_for
from server.cli.turn import STYLES, Turn, as_json, follow, tell

Interrupts = Sequence[Mapping[str, Any]]


@click.command()
@click.argument("thread_id", metavar="THREAD")
@click.option("--approve", is_flag=True, help="Approve every call that waits.")
@click.option("--reject", metavar="REASON", help="Reject every call that waits.")
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object at the end instead.")
@connection_options
def decide(
    thread_id: str, approve: bool, reject: str | None, json_output: bool, url: str | None, token: str | None
) -> None:
    """Approve, change or reject the calls that wait in THREAD; then the conversation goes on.

    Without --approve or --reject each call is asked about.
    """
    if approve and reject is not None:
        raise click.UsageError("--approve and --reject exclude each other")
    connection = connect(url, token)
    interrupts, assistant = asyncio.run(_waiting(connection, thread_id))
    if not interrupts:
        raise Failure("conflict", f"nothing waits for a decision in thread {thread_id}")
    words = words_for(_actions(interrupts[0])[0]["description"])
    given = {"type": "approve"} if approve else {"type": "reject", "message": reject} if reject is not None else None
    command = {"resume": answers(interrupts, words, given)}
    turn = follow(connection, assistant, thread_id, as_json=json_output, command=command)
    if json_output:
        click.echo(as_json(turn))
        return
    tell(turn, words, connection.url)
    offer(turn, words)


def answers(interrupts: Interrupts, words: Words, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A decision for each call of each interrupt: the one given for all, else what the person at the terminal says."""
    return {
        str(one["id"]): {"decisions": [given or _asked(action, words) for action in _actions(one)]}
        for one in interrupts
    }


def offer(turn: Turn, words: Words) -> None:
    """Say what waits for a decision, and how to make it."""
    for interrupt in turn.transcript.interrupts:
        for action in _actions(interrupt):
            _show(action)
    if turn.transcript.interrupts:
        click.echo(f"{words.decide_with}: consilium decide {turn.thread_id}")


async def _waiting(connection: Connection, thread_id: str) -> tuple[list[dict[str, Any]], str]:
    """What waits in the thread, and the assistant that goes on."""
    from langgraph_sdk import get_client
    from langgraph_sdk.errors import APIStatusError

    try:
        async with get_client(url=connection.url, api_key=None, headers=connection.headers) as client:
            thread: Any = await client.threads.get(thread_id)
            runs = await client.runs.list(thread_id, limit=1)
    except APIStatusError as refused:
        raise failure_of(refused.body, f"{refused.status_code} {refused.message}") from refused
    found = [one for task in thread.get("interrupts", {}).values() for one in task]
    return [one for one in found if "action_requests" in (one.get("value") or {})], runs[0][
        "assistant_id"
    ] if runs else ""


def _actions(interrupt: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    actions: Sequence[Mapping[str, Any]] = interrupt["value"]["action_requests"]
    return actions


def _show(action: Mapping[str, Any]) -> None:
    click.echo()
    click.secho(clean(str(action["description"])), **STYLES["waits"])
    click.echo(clean(json.dumps(action["args"], ensure_ascii=False, indent=2)))


def _asked(action: Mapping[str, Any], words: Words) -> dict[str, Any]:
    _show(action)
    kind = click.prompt(words.decision, type=click.Choice(["approve", "edit", "reject"]))
    if kind == "edit":
        return {"type": "edit", "edited_action": {"name": action["name"], "args": _edited(action["args"], words)}}
    if kind == "reject" and (reason := click.prompt(words.reason, default="", show_default=False)):
        return {"type": "reject", "message": reason}
    return {"type": kind}


def _edited(args: Mapping[str, Any], words: Words) -> dict[str, Any]:
    def read(text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except ValueError as wrong:
            raise click.UsageError(f"{words.no_json}: {wrong}") from None
        if not isinstance(value, dict):
            raise click.UsageError(words.no_json)
        return value

    edited: dict[str, Any] = click.prompt(
        words.arguments, default=json.dumps(args, ensure_ascii=False), value_proc=read
    )
    return edited
