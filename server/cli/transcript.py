"""A run's events as a person reads them: who works, which tools, the answer as it streams, its sources."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from server.cli.terminal import Failure, Words, clean, failure_of

MAX_ARGUMENTS = 80
"""Characters of a tool call's arguments that are shown."""
MAX_TASK = 160
REPORT: Final = "finish_subagent"
"""The call by which a specialist reports to whoever asked it."""
MAX_QUOTE = 400
MARKS: Final = {"succeeded": "✓", "pending": "?"}


class Screen(Protocol):
    """Where it is written. `write` takes text of the answer as it comes, `line` a whole line in a style."""

    def write(self, text: str) -> None: ...
    def line(self, text: str = "", *, style: str = "") -> None: ...


@dataclass(slots=True)
class Transcript:
    """Reads the stream parts of one run (modes messages-tuple, updates, custom, with subgraphs).

    Afterwards it holds what the run came to; None where the stream didn't say.
    """

    screen: Screen
    agent: str
    """Who is asked; names the delegating side until an event names another."""
    run_id: str | None = None
    answer: dict[str, Any] | None = None
    """The final message."""
    citations: list[dict[str, Any]] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    delegations: list[dict[str, Any]] = field(default_factory=list)
    interrupts: list[dict[str, Any]] = field(default_factory=list)
    """What waits for a person: `id` and `value`."""
    failure: Failure | None = None
    _streamed: dict[str, str] = field(default_factory=dict)
    _usage: dict[str, tuple[int, int]] = field(default_factory=dict)

    def read(self, event: str, data: Any) -> None:
        """Take one stream part. `event` carries the namespace: `messages|legal_agent:...`; unknown ones are ignored."""
        method, _, namespace = event.partition("|")
        if method == "metadata" and isinstance(data, Mapping):
            self.run_id = data.get("run_id")
        elif method == "messages" and not namespace:
            self._message(data[0])
        elif method == "updates":
            self._updates(data, root=not namespace)
        elif method == "custom" and isinstance(data, Mapping):
            self._custom(data)
        elif method == "error":
            self.failure = failure_of(data, "the run failed")

    @property
    def text(self) -> str:
        return text_of(self.answer) if self.answer else ""

    @property
    def usage(self) -> tuple[int, int] | None:
        """Prompt and completion tokens of all the run's model calls, children's included; None where none was told."""
        if not self._usage:
            return None
        return sum(prompt for prompt, _ in self._usage.values()), sum(done for _, done in self._usage.values())

    def _message(self, message: Mapping[str, Any]) -> None:
        # Whole messages (tools' results, what a node says) come in the updates as well.
        if message.get("type") != "AIMessageChunk":
            return
        if text := text_of(message):
            key = str(message.get("id"))
            self._streamed[key] = self._streamed.get(key, "") + text
            self.screen.write(clean(text))

    def _updates(self, data: Any, *, root: bool) -> None:
        for node, update in data.items() if isinstance(data, Mapping) else ():
            if node == "__interrupt__":
                known = {one["id"] for one in self.interrupts}
                self.interrupts += [dict(one) for one in update if one["id"] not in known]
                continue
            if not isinstance(update, Mapping):
                continue
            messages = update.get("messages") or []
            for message in messages if isinstance(messages, list) else [messages]:
                self._count(message)
                if root and node == "finish" and message.get("type") == "ai":
                    self._finish(message)
            if root and node == "finish" and update.get("citations") is not None:
                self.citations = list(update["citations"])

    def _finish(self, message: dict[str, Any]) -> None:
        self.answer = message
        whole, shown = text_of(message), self._streamed.get(str(message.get("id")), "")
        if whole.startswith(shown):
            self.screen.write(clean(whole[len(shown) :]))
        elif whole.strip() != shown.strip():  # what was streamed has been corrected: the whole counts
            self.screen.line()
            self.screen.write(clean(whole))

    def _count(self, message: Mapping[str, Any]) -> None:
        usage = message.get("usage_metadata")
        if message.get("type") == "ai" and usage:
            self._usage[str(message.get("id"))] = (usage["input_tokens"], usage["output_tokens"])

    def _custom(self, data: Mapping[str, Any]) -> None:
        if data.get("type") == "tool_call" and data.get("status") != "running":
            self.tool_calls.append(dict(data))
            name = f"{data.get('agent')}  {MARKS.get(str(data.get('status')), '✗')} {data.get('name')}({_short(data.get('arguments'))})"
            if data.get("status") == "pending":  # it waits for a person
                self.screen.line(clean(name), style="waits")
                return
            done = data.get("status") == "succeeded"
            if done and data.get("name") == REPORT:
                return  # the delegation's own end says it
            ms = "" if data.get("duration_ms") is None else f"  {data['duration_ms']} ms"
            error = data.get("error") or {}
            why = "" if done else f"  {error.get('code') or data.get('status')}: {error.get('message') or ''}"
            self.screen.line(clean(f"{name}{ms}{why}"), style="dim" if done else "bad")
        elif data.get("type") == "delegation":
            self._delegation(data)

    def _delegation(self, data: Mapping[str, Any]) -> None:
        if data.get("status") == "waiting":
            self.delegations.append(dict(data))
            task = " ".join(str(data.get("task")).split())
            self.screen.line(clean(f"{self.agent} → {data.get('agent')}: {_cut(task, MAX_TASK)}"), style="agent")
            return
        for known in self.delegations:
            if known.get("child_thread_id") == data.get("child_thread_id"):
                known.update(data)
        if data.get("status") == "completed":
            self.screen.line(clean(f"{data.get('agent')} → {self.agent}  ✓"), style="agent")
        if data.get("status") == "failed":
            error = data.get("error") or {}
            self.screen.line(clean(f"{data.get('agent')}  ✗ {error.get('code')}: {error.get('message')}"), style="bad")


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message whose content is a string or blocks."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "".join(block if isinstance(block, str) else str(block.get("text", "")) for block in blocks)


def source_lines(citations: Sequence[Mapping[str, Any]], words: Words, url: str) -> list[tuple[str, str]]:
    """The numbered sources as (line, style): where each is, its quote, the address that opens it. One entry a quote."""
    lines: list[tuple[str, str]] = []
    seen: set[tuple[Any, ...]] = set()
    for cited in sorted(citations, key=lambda one: one["n"]):
        page_url = cited.get("url")
        place = (cited["n"], page_url or cited["document_id"], cited["version"], cited["start"], cited["end"])
        if place in seen:
            continue
        seen.add(place)
        parts = [f"[{cited['n']}] {cited['title']}"]
        if cited.get("page") is not None:
            parts.append(f"{words.page} {cited['page']}")
        if cited.get("section"):
            parts.append(f"{words.section} {cited['section']}")
        if page_url is None:  # positions in a web page's excerpt lead nobody there
            parts.append(f"{words.characters} {cited['start']}–{cited['end']}")
        quote = _cut(" ".join(str(cited["quote"]).split()), MAX_QUOTE)
        path = f"/v1/documents/{cited['document_id']}/versions/{cited['version']}/passage"
        opens = page_url or f"{url}{path}?start={cited['start']}&end={cited['end']}"
        lines.append((clean(" · ".join(parts)), "source"))
        lines.append((clean(f"    «{quote}»"), ""))
        lines.append((clean(f"    {opens}"), "dim"))
    return lines


def _short(arguments: Any) -> str:
    if not isinstance(arguments, Mapping):
        return ""
    values = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())
    return _cut(" ".join(", ".join(values).split()), MAX_ARGUMENTS)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
