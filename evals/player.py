"""Plays cases over the public HTTP API, as a user of an organisation would."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from evals.cases import Case, Step
from evals.conversation import Citation, Conversation, Exchange, Span, ToolUse, fold
from evals.organizations import Described, Organization, load
from evals.serving import Served

TURN_SECONDS = 300.0
PASSAGES = 6
"""How many passages an agent is given before it is asked; see graphs/skills.yaml."""

_NAMED = re.compile(r"\{(\w+)\.([^{}]+)\}")

Prepare = Callable[[httpx.AsyncClient, Case], Awaitable[str | None]]


@dataclass
class _Thread:
    """A conversation of a case and what has been read of it, so that a turn's own messages are known."""

    thread_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    seen: set[str] = field(default_factory=set)
    runs: list[str] = field(default_factory=list)


class Player:
    """Plays cases against one server. `model` (`provider/model`) is asked for at every turn. `prepare` sets up what a case
    needs beside documents and notes; it gives the reason where that can't be had, and the case is skipped."""

    def __init__(self, served: Served, model: str, organizations: dict[str, Described], prepare: Prepare) -> None:
        self._served = served
        self.model = model
        self._described = organizations
        self._prepare = prepare
        self._loaded: dict[str, asyncio.Task[Organization]] = {}
        self._clients: dict[tuple[str, str], httpx.AsyncClient] = {}

    async def __aenter__(self) -> Player:
        return self

    async def __aexit__(self, *error: object) -> None:
        for loading in self._loaded.values():
            loading.cancel()
        await asyncio.gather(*self._loaded.values(), return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()

    def client(self, organization: str, user: str) -> httpx.AsyncClient:
        """A client with this user's token."""
        key = (organization, user)
        if key not in self._clients:
            headers = {"Authorization": f"Bearer {self._served.token(organization, user)}"}
            self._clients[key] = httpx.AsyncClient(base_url=self._served.url, headers=headers, timeout=TURN_SECONDS)
        return self._clients[key]

    async def play(self, case: Case) -> Conversation:
        """All steps of a case. What goes wrong in a turn is in its exchange; what keeps the case from being played in
        `hindrances`."""
        try:
            return await _Play(self, case).run()
        except (httpx.HTTPError, RuntimeError, LookupError, ValueError) as wrong:
            return Conversation(hindrances=(f"{type(wrong).__name__}: {wrong}",))

    async def organization(self, name: str, own: Described | None = None) -> Organization:
        """The organisation, loaded at its first use."""
        if name not in self._loaded:
            content = own if own is not None else self._described[name]
            self._loaded[name] = asyncio.create_task(load(self.client(name, "loader"), name, content))
        return await asyncio.shield(self._loaded[name])

    async def missing(self, case: Case) -> str | None:
        """Why the case can't be played here; None where it can."""
        if case.needs is None:
            return None
        return await self._prepare(self.client(self.home(case), "loader"), case)

    def home(self, case: Case) -> str:
        """The organisation a case takes place in."""
        return case.organization or f"eval-{case.id}"

    def context(self, step: Step) -> dict[str, Any]:
        """The wishes of a turn."""
        return {"model": self.model, **step.context}


class _Play:
    def __init__(self, player: Player, case: Case) -> None:
        self._player = player
        self._case = case
        self._threads: dict[str, _Thread] = {}
        self._hindrances: list[str] = []

    async def run(self) -> Conversation:
        case, player = self._case, self._player
        skipped = await player.missing(case)
        if skipped is not None:
            return Conversation(skipped=skipped)
        own = Described(case.documents, case.own_notes, case.texts) if case.organization is None else None
        home = await player.organization(player.home(case), own)
        for other in {step.organization for step in case.steps} - {None, home.name}:
            await player.organization(str(other))
        exchanges = []
        for step in case.steps:
            exchanges.append(await (self._ask(step) if step.ask is not None else self._request(step)))
        return Conversation(
            tuple(exchanges),
            tuple(self._gold(home)),
            tuple(await self._notes(home)),
            await self._exposed(home, exchanges),
            None,
            player.model,
            tuple(self._hindrances),
        )

    def _organization(self, step: Step) -> str:
        return step.organization or self._player.home(self._case)

    async def _ask(self, step: Step) -> Exchange:
        organization = self._organization(step)
        http = self._player.client(organization, step.user)
        thread = self._threads.setdefault(step.thread, _Thread())
        body = {
            "assistant_id": step.assistant,
            "if_not_exists": "create",
            "input": {"messages": [{"role": "user", "content": step.ask}]},
            "context": self._player.context(step),
        }
        started = time.monotonic()
        answer = await http.post(f"/threads/{thread.thread_id}/runs/wait", json=body)
        seconds = time.monotonic() - started
        asked = Exchange(organization, step.user, step.thread, step.ask or "", seconds=seconds, seen=answer.text)
        values = answer.json()
        failed = values.get("__error__") or (values if answer.status_code >= 400 else None)
        if failed is not None:
            return _with(asked, error=json.dumps(failed, ensure_ascii=False))
        thread.runs.append(answer.headers.get("Content-Location", "").rpartition("/")[2])
        return await self._read(http, thread, asked, values)

    async def _read(
        self, http: httpx.AsyncClient, thread: _Thread, asked: Exchange, values: dict[str, Any]
    ) -> Exchange:
        new = [message for message in values["messages"] if message["id"] not in thread.seen]
        thread.seen |= {message["id"] for message in values["messages"]}
        calls, models, seen = _calls(new), _models(new), asked.seen
        children = (await http.get(f"/v1/threads/{thread.thread_id}/children")).json()["children"]
        for child in children:
            state = await http.get(f"/threads/{child['thread_id']}/state")
            seen += state.text
            messages = state.json().get("values", {}).get("messages", [])
            own = [message for message in messages if message["id"] not in thread.seen]
            thread.seen |= {message["id"] for message in own}
            calls, models = calls + _calls(own), models + _models(own)
        last = next((message for message in reversed(new) if message["type"] == "ai"), None)
        if last is None:
            return _with(asked, calls=tuple(calls), error="the turn has no answer")
        home = await self._player.organization(asked.organization)
        return _with(
            asked,
            answer=_text(last["content"]),
            stop_reason=last.get("response_metadata", {}).get("stop_reason"),
            citations=tuple(_citation(one, home) for one in values.get("citations", [])),
            calls=tuple(calls),
            models=tuple(dict.fromkeys(models)),
            seen=seen,
        )

    async def _request(self, step: Step) -> Exchange:
        assert step.request is not None, "a step without a question is a request"
        organization, request = self._organization(step), step.request
        http = self._player.client(organization, step.user)
        body = None if request.json_body is None else json.loads(await self._filled(json.dumps(request.json_body)))
        answer = await http.request(request.method, await self._filled(request.path), json=body)
        return Exchange(
            organization,
            step.user,
            step.thread,
            f"{request.method} {request.path}",
            answer=answer.text[:4000],
            http_status=answer.status_code,
            allowed=request.status,
            seen=answer.text,
        )

    async def _filled(self, text: str) -> str:
        values: dict[str, str] = {}
        for match in _NAMED.finditer(text):
            kind, name = match.groups()
            values[match.group()] = await self._value(kind, name)
        for named, value in values.items():
            text = text.replace(named, value)
        return text

    async def _value(self, kind: str, name: str) -> str:
        match kind:
            case "thread":
                return self._threads[name].thread_id
            case "run":
                return self._threads[name].runs[-1]
            case "document":
                organization, _dot, file = name.partition(".")
                return (await self._player.organization(organization)).documents[file]
            case "note":
                return (await self._player.organization(name)).notes[0]
        raise ValueError(f"{self._case.id}: nothing is called {kind}.{name}")

    def _gold(self, home: Organization) -> list[Span]:
        spans = []
        for quote in self._case.quotes:
            span = home.find(quote.document, quote.text)
            if span is None:
                self._hindrances.append(f"{quote.document} doesn't hold: {quote.text}")
            else:
                spans.append(span)
        return spans

    async def _notes(self, home: Organization) -> list[str]:
        answer = await self._player.client(home.name, "loader").get("/v1/notes", params={"limit": 200})
        answer.raise_for_status()
        return [str(note["text"]) for note in answer.json()["items"]]

    async def _exposed(self, home: Organization, exchanges: list[Exchange]) -> bool | None:
        """Whether the injected words were among the passages of the last question, a tool's results or descriptions."""
        if self._case.injected is None:
            return None
        wanted, http = fold(self._case.injected), self._player.client(home.name, "loader")
        found = await http.post("/v1/documents/search", json={"query": self._case.question, "k": PASSAGES})
        texts = [str(passage["text"]) for passage in found.json()["passages"]]
        texts += [call.result for exchange in exchanges for call in exchange.calls]
        texts += [str(tool.get("description", "")) for tool in (await http.get("/v1/tools")).json()["tools"]]
        return any(wanted in fold(text) for text in texts)


def _with(exchange: Exchange, **changes: Any) -> Exchange:
    return dataclasses.replace(exchange, **changes)


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(str(block.get("text", "")) for block in content)


def _models(messages: list[dict[str, Any]]) -> list[str]:
    told = [message.get("response_metadata", {}) for message in messages if message["type"] == "ai"]
    return [f"{one['provider']}/{one['model']}" for one in told if "provider" in one and "model" in one]


def _calls(messages: list[dict[str, Any]]) -> list[ToolUse]:
    results = {message["tool_call_id"]: message for message in messages if message["type"] == "tool"}
    uses = []
    for message in messages:
        for call in message.get("tool_calls") or ():
            result = results.get(call["id"])
            status = None if result is None else str(result.get("status", "success"))
            text = "" if result is None else _text(result["content"])
            uses.append(ToolUse(str(message.get("name") or ""), call["name"], call["args"], status, text))
    return uses


def _citation(citation: dict[str, Any], home: Organization) -> Citation:
    file = home.file_of(citation.get("document_id"))
    span = Span(file, int(citation.get("start") or 0), int(citation.get("end") or 0))
    quote = str(citation.get("quote") or "")
    return Citation(span, quote, home.stands(span, quote), str(citation.get("title") or ""))
