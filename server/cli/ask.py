"""`consilium ask`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from server.cli.connection import Connection, connect, connection_options
from server.cli.terminal import Failure, Words, failure_of, words_for
from server.cli.transcript import Transcript, source_lines

if TYPE_CHECKING:
    from langgraph_sdk.client import LangGraphClient

STYLES: dict[str, dict[str, Any]] = {
    "": {},
    "dim": {"dim": True},
    "bad": {"fg": "red"},
    "agent": {"fg": "cyan"},
    "source": {"bold": True},
}


@click.command()
@click.argument("text")
@click.option("--thread", "thread_id", help="A conversation to continue.")
@click.option("--assistant", default="supervisor", show_default=True, help="Whom to ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end instead.")
@connection_options
def ask(text: str, thread_id: str | None, assistant: str, as_json: bool, url: str | None, token: str | None) -> None:
    """Ask TEXT; the answer streams with its sources. Ctrl-C cancels the run."""
    if not text.strip():
        raise click.UsageError("TEXT is empty: ask something")
    connection = connect(url, token)
    screen = _Silence() if as_json else _Terminal()
    transcript = Transcript(screen, assistant)
    try:
        thread_id, duration_ms = asyncio.run(_follow(connection, text, thread_id, assistant, transcript))
    except KeyboardInterrupt:
        screen.end_line()
        raise
    screen.end_line()
    if transcript.failure is not None:
        raise transcript.failure
    if transcript.answer is None:
        raise Failure("no_answer", f"the run ended without an answer; look at thread {thread_id}")
    if as_json:
        click.echo(json.dumps(_result(transcript, thread_id, duration_ms), ensure_ascii=False, indent=2))
    else:
        _print_end(screen, transcript, connection.url, words_for(text), thread_id, duration_ms)


async def _follow(
    connection: Connection, text: str, thread_id: str | None, assistant: str, transcript: Transcript
) -> tuple[str, int]:
    """Run it and feed the transcript. Returns the thread's id and the milliseconds from sending to the end."""
    import httpx
    from langgraph_sdk import get_client
    from langgraph_sdk.errors import APIStatusError

    started = time.monotonic()
    try:
        async with get_client(url=connection.url, api_key=None, headers=connection.headers) as client:
            if thread_id is None:
                thread_id = (await client.threads.create(metadata={"title": _title(text)}))["thread_id"]
            await _stream(client, thread_id, assistant, text, transcript)
    except APIStatusError as refused:
        raise failure_of(refused.body, f"{refused.status_code} {refused.message}") from refused
    except httpx.TransportError as broken:
        reason = str(broken) or type(broken).__name__
        raise Failure("server_unreachable", f"the connection to {connection.url} was lost: {reason}") from broken
    return thread_id, round((time.monotonic() - started) * 1000)


async def _stream(client: LangGraphClient, thread_id: str, assistant: str, text: str, transcript: Transcript) -> None:
    question: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    parts = client.runs.stream(
        thread_id,
        assistant,
        input=question,
        stream_mode=["messages-tuple", "updates", "custom"],
        stream_subgraphs=True,
        on_disconnect="cancel",
    )
    async for part in parts:
        transcript.read(part.event, part.data)


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79].rstrip() + "…"


class _Terminal:
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


class _Silence(_Terminal):
    """Where only the result is wanted."""

    def write(self, text: str) -> None:
        pass

    def line(self, text: str = "", *, style: str = "") -> None:
        pass


def _print_end(
    screen: _Terminal, transcript: Transcript, url: str, words: Words, thread_id: str, duration_ms: int
) -> None:
    if transcript.citations:
        screen.line()
        screen.line(f"{words.sources}:")
        for line, style in source_lines(transcript.citations, words, url):
            screen.line(line, style=style)
    provider, model = _answered_by(transcript)
    facts = [provider if model in (None, provider) else f"{provider}/{model}"] if provider else []
    if transcript.usage is not None:
        facts.append(f"{sum(transcript.usage)} {words.tokens}")
    facts += [f"{duration_ms} ms", f"thread {thread_id}"]
    screen.line()
    screen.line(" · ".join(facts), style="dim")
    if provider == "extractive":
        screen.line(words.offline, style="dim")
    if sys.stdout.isatty():
        screen.line(f'{words.continue_with}: consilium ask --thread {thread_id} "..."', style="dim")


def _answered_by(transcript: Transcript) -> tuple[str | None, str | None]:
    metadata = (transcript.answer or {}).get("response_metadata") or {}
    return metadata.get("provider"), metadata.get("model_name")


def _result(transcript: Transcript, thread_id: str, duration_ms: int) -> dict[str, Any]:
    provider, model = _answered_by(transcript)
    usage = transcript.usage
    return {
        "thread_id": thread_id,
        "run_id": transcript.run_id,
        "answer": transcript.text,
        "citations": transcript.citations,
        "delegations": transcript.delegations,
        "tool_calls": transcript.tool_calls,
        "provider": provider,
        "model": model,
        "stop_reason": ((transcript.answer or {}).get("response_metadata") or {}).get("stop_reason"),
        "usage": None if usage is None else {"prompt": usage[0], "completion": usage[1]},
        "duration_ms": duration_ms,
    }
