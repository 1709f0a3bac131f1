"""One turn followed in the terminal: as it streams, and what it came to."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from server.cli.connection import Connection
from server.cli.terminal import Failure, Words, failure_of
from server.cli.transcript import Transcript, source_lines

if TYPE_CHECKING:
    from langgraph_sdk.client import LangGraphClient

STYLES: dict[str, dict[str, Any]] = {
    "": {},
    "dim": {"dim": True},
    "bad": {"fg": "red"},
    "agent": {"fg": "cyan"},
    "source": {"bold": True},
    "waits": {"fg": "yellow"},
}


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was followed to its end, or to where it waits for a person."""

    thread_id: str
    assistant: str
    transcript: Transcript
    duration_ms: int


def follow(
    connection: Connection, assistant: str, thread_id: str | None, *, as_json: bool, title: str = "", **started: Any
) -> Turn:
    """Run it with `started` (`input` or `command`), in a new thread of this title where none is named.

    Raises Failure for what the server refuses, a run that fails, and one that ends without an answer and waits for nobody.
    """
    screen: Terminal = Silence() if as_json else Terminal()
    transcript = Transcript(screen, assistant)
    try:
        turn = asyncio.run(_follow(connection, assistant, thread_id, title, transcript, started))
    except KeyboardInterrupt:
        screen.end_line()
        raise
    screen.end_line()
    if transcript.failure is not None:
        raise transcript.failure
    if transcript.answer is None and not transcript.interrupts:
        raise Failure("no_answer", f"the run ended without an answer; look at thread {turn.thread_id}")
    return turn


async def _follow(
    connection: Connection,
    assistant: str,
    thread_id: str | None,
    title: str,
    transcript: Transcript,
    started: dict[str, Any],
) -> Turn:
    import httpx
    from langgraph_sdk import get_client
    from langgraph_sdk.errors import APIStatusError

    began = time.monotonic()
    try:
        async with get_client(url=connection.url, api_key=None, headers=connection.headers) as client:
            if thread_id is None:
                thread_id = (await client.threads.create(metadata={"title": title}))["thread_id"]
            await _stream(client, thread_id, assistant, transcript, started)
    except APIStatusError as refused:
        raise failure_of(refused.body, f"{refused.status_code} {refused.message}") from refused
    except httpx.TransportError as broken:
        reason = str(broken) or type(broken).__name__
        raise Failure("server_unreachable", f"the connection to {connection.url} was lost: {reason}") from broken
    return Turn(thread_id, assistant, transcript, round((time.monotonic() - began) * 1000))


async def _stream(
    client: LangGraphClient, thread_id: str, assistant: str, transcript: Transcript, started: dict[str, Any]
) -> None:
    parts = client.runs.stream(
        thread_id,
        assistant,
        **started,
        stream_mode=["messages-tuple", "updates", "custom"],
        stream_subgraphs=True,
        on_disconnect="cancel",
    )
    async for part in parts:
        transcript.read(part.event, part.data)


class Terminal:
    """Standard output. Colours only where it is a terminal (click strips them elsewhere)."""

    def __init__(self) -> None:
        self._mid_line = False

    def write(self, text: str) -> None:
        if text:
            click.echo(text, nl=False)
            self._mid_line = not text.endswith("\n")

    def line(self, text: str = "", *, style: str = "") -> None:
        self.end_line()
        click.secho(text, **STYLES[style])

    def end_line(self) -> None:
        if self._mid_line:
            click.echo()
        self._mid_line = False


class Silence(Terminal):
    """Where only the result is wanted."""

    def write(self, text: str) -> None:
        pass

    def line(self, text: str = "", *, style: str = "") -> None:
        pass


def tell(turn: Turn, words: Words, url: str) -> None:
    """The sources of the answer, and a line of facts. Nothing where the turn waits for a person."""
    screen, transcript = Terminal(), turn.transcript
    if transcript.answer is None:
        return
    if transcript.citations:
        screen.line()
        screen.line(f"{words.sources}:")
        for line, style in source_lines(transcript.citations, words, url):
            screen.line(line, style=style)
    provider, model = _answered_by(transcript)
    facts = [provider if model in (None, provider) else f"{provider}/{model}"] if provider else []
    if transcript.usage is not None:
        facts.append(f"{sum(transcript.usage)} {words.tokens}")
    facts += [f"{turn.duration_ms} ms", f"thread {turn.thread_id}"]
    screen.line()
    screen.line(" · ".join(facts), style="dim")
    if provider == "extractive":
        screen.line(words.offline, style="dim")
    if sys.stdout.isatty():
        screen.line(f'{words.continue_with}: consilium ask --thread {turn.thread_id} "..."', style="dim")


def as_json(turn: Turn) -> str:
    """The turn as one JSON object; `interrupts` are what waits for a person, as the API shows them."""
    transcript = turn.transcript
    provider, model = _answered_by(transcript)
    usage = transcript.usage
    result = {
        "thread_id": turn.thread_id,
        "run_id": transcript.run_id,
        "answer": transcript.text,
        "citations": transcript.citations,
        "delegations": transcript.delegations,
        "tool_calls": transcript.tool_calls,
        "interrupts": transcript.interrupts,
        "provider": provider,
        "model": model,
        "stop_reason": ((transcript.answer or {}).get("response_metadata") or {}).get("stop_reason"),
        "usage": None if usage is None else {"prompt": usage[0], "completion": usage[1]},
        "duration_ms": turn.duration_ms,
    }
    return json.dumps(result, ensure_ascii=False, indent=2)


def _answered_by(transcript: Transcript) -> tuple[str | None, str | None]:
    metadata = (transcript.answer or {}).get("response_metadata") or {}
    return metadata.get("provider"), metadata.get("model_name")
