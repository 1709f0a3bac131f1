"""`consilium ask`: a question over the API, the agents' work and the answer as they come."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import click
import httpx

from domain.errors import ConsiliumError
from server.cli.local import Local, find

_LABELS = {
    "en": {"sources": "Sources", "page": "page", "chars": "characters", "thread": "continue with", "tokens": "tokens"},
    "ru": {"sources": "Источники", "page": "стр.", "chars": "символы", "thread": "продолжить", "tokens": "токенов"},
}


@click.command(name="ask")
@click.argument("question")
@click.option("--thread", "thread_id", help="Continue this conversation.")
@click.option("--assistant", default="supervisor", show_default=True, help="Whom to ask.")
@click.option("--model", help="A model to use, as provider/model.")
@click.option("--json", "as_json", is_flag=True, help="Print the final state as JSON instead.")
@click.option("--url", help="The server (CONSILIUM_URL).")
@click.option("--token", help="The token (CONSILIUM_TOKEN).")
def command(
    question: str, thread_id: str | None, assistant: str, model: str | None, as_json: bool, url: str | None, token: str | None
) -> None:
    """Ask, and watch the agents answer."""
    known = find(url, token)
    try:
        ended_well = asyncio.run(_ask(known, question, thread_id, assistant, model, as_json))
    except httpx.HTTPStatusError as refused:
        raise ConsiliumError(_told(refused.response)) from refused
    except httpx.TransportError as unreachable:
        raise ConsiliumError(f"{known.url} does not answer ({unreachable}); start it with `make run`.") from unreachable
    if not ended_well:
        sys.exit(1)


async def _ask(
    known: Local, question: str, thread_id: str | None, assistant: str, model: str | None, as_json: bool
) -> bool:
    from langgraph_sdk import get_client

    client = get_client(url=known.url, api_key=None, headers={"Authorization": f"Bearer {known.token}"})
    if thread_id is None:
        thread_id = str((await client.threads.create())["thread_id"])
    screen = _Screen(known.url, question, quiet=as_json)
    started = time.monotonic()
    async for part in client.runs.stream(
        thread_id,
        assistant,
        input={"messages": [{"role": "user", "content": question}]},
        context={"model": model} if model else None,
        stream_mode=["messages-tuple", "updates", "custom"],
        stream_subgraphs=True,
    ):
        screen.take(part.event, part.data)
    if as_json:
        state = await client.threads.get_state(thread_id)
        click.echo(json.dumps(state["values"], ensure_ascii=False, indent=2))
    elif screen.error is None:
        screen.close(thread_id, time.monotonic() - started)
    return screen.error is None


class _Screen:
    """What the terminal shows: who works on what, the answer once, its sources numbered as in the text."""

    def __init__(self, url: str, question: str, *, quiet: bool) -> None:
        from nodes.texts import language_of

        self._url = url
        self._labels = _LABELS[language_of(question)]
        self._quiet = quiet
        self._shown: set[str] = set()
        self._in_answer = False
        self._final: dict[str, Any] | None = None
        self._citations: list[dict[str, Any]] = []
        self.error: dict[str, Any] | None = None

    def take(self, event: str, data: Any) -> None:
        """One event of the stream."""
        name, _, namespace = event.partition("|")
        if name == "error":
            self.error = data
            self._line("")
            click.echo(f"✗ {data.get('error_code', data.get('error'))}: {data.get('message')} (trace_id {data.get('trace_id')})", err=True)
        elif name == "custom":
            self._work(data)
        elif name == "messages" and not namespace:
            self._message(data[0])
        elif name == "updates" and not namespace and isinstance(data, dict):
            finished = data.get("finish") or {}
            if finished.get("messages"):
                self._final, self._citations = finished["messages"][-1], finished.get("citations") or []

    def _work(self, data: dict[str, Any]) -> None:
        match data.get("type"):
            case "delegation" if data["status"] == "waiting":
                self._line(click.style(f"supervisor → {data['agent']}: ", fg="cyan") + _short(data["task"]))
            case "delegation":
                mark = "✗" if data["status"] == "failed" else "✓"
                told = f": {data['error']['message']}" if data.get("error") else ""
                self._line(click.style(f"{mark} {data['agent']} {data['status']}{told}", fg="cyan"))
            case "tool_call" if data["status"] != "running" and data["name"] != "finish_subagent":
                good = data["status"] == "succeeded"
                told = "" if good else f" {data['error']['message']}"
                arguments = _short(json.dumps(data["arguments"], ensure_ascii=False))
                line = f"  {data['agent']} · {data['name']} {arguments} {'✓' if good else '✗'} {data['duration_ms']} ms{told}"
                self._line(click.style(line, dim=True))

    def _message(self, message: dict[str, Any]) -> None:
        """A chunk of the answer, or a whole message that wasn't streamed."""
        if message["type"] not in ("AIMessageChunk", "ai") or self._quiet:
            return
        text = _text(message["content"])
        if message["type"] == "ai":
            if message["id"] in self._shown:
                return
            if message.get("name"):
                self._line(click.style(f"{message['name']}:", bold=True))
        self._shown.add(message["id"])
        if text:
            if not self._in_answer:
                click.echo()
            self._in_answer = True
            click.echo(text, nl=False)

    def _line(self, text: str) -> None:
        if self._quiet:
            return
        if self._in_answer:
            click.echo()
            self._in_answer = False
        click.echo(text)

    def close(self, thread_id: str, seconds: float) -> None:
        """The sources, and a last line on who answered."""
        self._line("")
        if self._citations:
            click.echo(click.style(self._labels["sources"], bold=True))
        for n, cited in sorted({c["n"]: c for c in self._citations}.items()):
            place = [cited["title"]]
            if cited.get("page") is not None:
                place.append(f"{self._labels['page']} {cited['page']}")
            if cited.get("section"):
                place.append(f"§ {cited['section']}")
            place.append(f"{self._labels['chars']} {cited['start']}–{cited['end']}")
            click.echo(f"[{n}] " + " · ".join(place))
            click.echo(click.style(f"    «{_short(cited['quote'], 300)}»", dim=True))
            path = f"/v1/documents/{cited['document_id']}/versions/{cited['version']}/passage"
            click.echo(click.style(f"    {self._url}{path}?start={cited['start']}&end={cited['end']}", dim=True))
        final = self._final or {}
        metadata, usage = final.get("response_metadata") or {}, final.get("usage_metadata") or {}
        facts = [
            " → ".join(metadata.get("agents") or []),
            str(metadata.get("provider") or metadata.get("model_provider") or ""),
            str(metadata.get("model_name") or ""),
            f"{usage['total_tokens']} {self._labels['tokens']}" if usage.get("total_tokens") else "",
            f"{seconds * 1000:.0f} ms",
            f"{self._labels['thread']}: --thread {thread_id}",
        ]
        click.echo(click.style(" · ".join(fact for fact in dict.fromkeys(facts) if fact), dim=True))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content if isinstance(block, dict))


def _short(text: str, most: int = 120) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= most else folded[: most - 1] + "…"


def _told(response: httpx.Response) -> str:
    try:
        told = response.json()
        return f"{told['message']} ({told['error_code']}, trace_id {told['trace_id']})"
    except (ValueError, KeyError, httpx.ResponseNotRead):
        return f"the server answered {response.status_code}"
