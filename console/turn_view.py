"""One turn on the page: the question, who works on it and how, the answer as it grows, its sources."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from nicegui import ui
from nicegui.events import GenericEventArguments

from console.agents import Agents
from console.context import Context
from console.decision import Decide, Decision
from console.failure import failure_notice
from console.passage import is_web, open_passage
from console.prose import prose
from console.step_view import child_step, tool_step
from console.texts import number
from console.theme import box, icon_button, text
from console.transcript import MAIN, REPORT, Child, ToolCall, Turn

_CITED = re.compile(r"\[(\d{1,3})\](?!\()")
_EMIT_SOURCE = (
    "(e) => { const a = e.target.closest('a[href^=\"#source-\"]'); if (!a) return; e.preventDefault(); "
    "emit(a.getAttribute('href').slice(8)); }"
)


class TurnView:
    """Draws a Turn and, with `update`, what became of it. `on_retry` is called for the newest turn only."""

    def __init__(
        self,
        context: Context,
        agents: Agents,
        turn: Turn,
        *,
        thread_id: Callable[[], str | None],
        on_retry: Callable[[], Awaitable[None]] | None = None,
        on_decision: Decide | None = None,
    ) -> None:
        self._context, self._agents, self.turn = context, agents, turn
        self._thread_id, self._on_retry, self._on_decision = thread_id, on_retry, on_decision
        self._drawn: dict[str, Hashable] = {}
        self._open: dict[str, bool] = {}
        with box("turn").props("role=group").mark("turn") as self.root:
            text(turn.question, "question")
            self._who = box("who")
            self._steps = box("steps")
            self._notices = box("stack").style("gap:6px")
            self._answer = prose(classes="answer").props("aria-live=off").mark("answer")
            self._answer.on("click", self._cited, js_handler=_EMIT_SOURCE)
            self._decisions = box("stack")
            self._sources = box("stack").style("gap:8px")
            self._foot = box("turn-foot")
        self.update()

    def update(self) -> None:
        """Draw what has changed since the last time."""
        turn = self.turn
        self._part("who", (turn.status, tuple(turn.agents), self._at_work()), self._who, self._draw_who)
        steps = tuple(_state(step) for step in turn.steps)
        self._part("steps", (steps, turn.status == "running"), self._steps, self._draw_steps)
        notices = (
            turn.status,
            turn.stop_reason,
            turn.resumes_at,
            len(turn.retractions),
            bool(turn.text),
            turn.provider,
        )
        self._part("notices", notices, self._notices, self._draw_notices)
        self._draw_answer()
        self._part(
            "decisions",
            (turn.status, tuple(str(one.get("id")) for one in turn.interrupts)),
            self._decisions,
            self._draw_decisions,
        )
        self._part("sources", (turn.status, len(turn.citations)), self._sources, self._draw_sources)
        self._part("foot", (turn.status, turn.run_id, turn.usage, self._on_retry is None), self._foot, self._draw_foot)

    def settle(self) -> None:
        """It isn't the newest turn any more: it can't be answered anew."""
        self._on_retry = None
        self.update()

    def _part(self, name: str, state: Hashable, place: ui.element, draw: Callable[[], None]) -> None:
        if self._drawn.get(name) == state:
            return
        self._drawn[name] = state
        place.clear()
        with place:
            draw()
        place.set_visibility(bool(place.default_slot.children))

    def _at_work(self) -> str | None:
        if self.turn.status != "running":
            return None
        child = next((one for one in reversed(self.turn.children) if one.status in ("waiting", "active")), None)
        return child.agent if child is not None else MAIN

    def _draw_who(self) -> None:
        t, working = self._context.t, self._at_work()
        with box("avatar"):
            ui.icon("hub")
        names = list(dict.fromkeys(self._agents.title(agent) for agent in self.turn.agents or [MAIN]))
        text(" → ".join(names) if working is None else self._agents.title(MAIN), tag="b")
        if working is not None:
            said = t("chat.thinking") if working == MAIN else t("chat.working", agent=self._agents.title(working))
            text(said, tag="span").props("role=status")
            box("caret", "span")

    def _draw_steps(self) -> None:
        for step in self.turn.steps:
            if isinstance(step, Child):
                child_step(self._context, self._agents, step, self._open, at_work=self.turn.status == "running")
            elif step.name != REPORT:
                tool_step(self._context, step, self._open, at_work=self.turn.status == "running")

    def _draw_notices(self) -> None:
        t, turn = self._context.t, self.turn
        for one in turn.retractions:
            who = "/".join(part for part in (one.provider, one.model) if part) or t("unknown")
            text(t("chat.retracted", provider=who, reason=one.reason or t("unknown")), "notice warn").mark("retraction")
        if turn.resumes_at and turn.status == "running":
            text(t("chat.quota_wait", at=self._context.moment(turn.resumes_at)), "notice warn")
        if turn.status == "failed":
            failure_notice(self._context, turn.error or {}, t("chat.failed")).props("role=alert").mark("failure")
        elif turn.status == "waiting" and not turn.interrupts:
            text(t("chat.waiting"), "notice warn").props("role=status").mark("waiting")
        elif turn.status == "stopped":
            said = t("chat.stopped") if turn.text or turn.run_id else t("chat.missing_answer")
            text(said, "notice")
        elif turn.stop_reason not in (None, "completed", "cancelled") and f"stop.{turn.stop_reason}" in _STOPS:
            text(t(f"stop.{turn.stop_reason}"), "notice warn")
        if turn.status == "done" and turn.provider == "extractive":
            text(t("chat.extractive"), "faint small")

    def _draw_answer(self) -> None:
        numbers = {str(cited.get("n")) for cited in self.turn.citations}
        shown = _CITED.sub(lambda found: _reference(found, numbers), self.turn.text)
        if self._answer.content != shown:
            self._answer.set_content(shown)
        self._answer.set_visibility(bool(shown))

    def _draw_decisions(self) -> None:
        if self.turn.status != "waiting" or self._on_decision is None:
            return
        for interrupt in self.turn.interrupts:
            Decision(self._context, self._agents, interrupt, self._on_decision)

    def _draw_sources(self) -> None:
        if self.turn.status == "running" or not self.turn.citations:
            return
        text(self._context.t("chat.sources"), "field-name")
        by_place: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        for cited in sorted(self.turn.citations, key=lambda one: int(one.get("n") or 0)):
            quotes = by_place.setdefault(tuple(cited.get(name) for name in ("n", "document_id", "version", "url")), [])
            if all((one.get("start"), one.get("quote")) != (cited.get("start"), cited.get("quote")) for one in quotes):
                quotes.append(cited)
        with box("sources"):
            for quotes in by_place.values():
                self._source(quotes)

    def _source(self, quotes: list[Mapping[str, Any]]) -> None:
        """A numbered source: each of its quotes opens where it stands."""
        t, first = self._context.t, quotes[0]
        with box("source").mark("source"):
            text(str(first.get("n")), "n", "span")
            with box("grow"):
                with box("row-line").style("flex-wrap:nowrap"):
                    text(str(first.get("title") or first.get("url")), "title one-line grow")
                    if is_web(first.get("url")):
                        ui.icon("open_in_new", size="16px").classes("faint")
                    if any(one.get("local_only") for one in quotes):
                        text(t("chat.local_only"), "chip warn", "span")
                for cited in quotes:
                    self._quote(cited)

    def _quote(self, cited: Mapping[str, Any]) -> None:
        t = self._context.t
        with box("quote", "button").props("type=button").mark("quote") as button:
            said = " ".join(str(cited.get("quote") or "").split())
            text(t("chat.quote", quote=said) if said else str(cited.get("url") or ""), "said", "span")
            about = [t("chat.page", n=cited["page"])] if cited.get("page") is not None else []
            about += [str(cited["section"]).rpartition("›")[2].strip()] if cited.get("section") else []
            about += [str(urlsplit(str(cited["url"])).hostname)] if is_web(cited.get("url")) else []
            if about:
                text(" · ".join(about), "faint one-line", "span")
        button.on("click", lambda: open_passage(self._context, cited))

    async def _cited(self, event: GenericEventArguments) -> None:
        cited = next((one for one in self.turn.citations if str(one.get("n")) == str(event.args)), None)
        if cited is not None:
            await open_passage(self._context, cited)

    def _draw_foot(self) -> None:
        t, turn = self._context.t, self.turn
        if turn.status == "running":
            return
        if turn.text:
            icon_button("content_copy", t("copy"), self._copy, "quiet tiny")
        if self._on_retry is not None and turn.status != "waiting":
            again = icon_button("refresh", t("chat.retry"), self._on_retry, "quiet tiny").mark("retry")
            again.props("no-caps")
        if turn.run_id and (thread := self._thread_id()):
            ui.link(t("chat.path"), f"/graph?{urlencode({'thread': thread, 'run': turn.run_id})}").mark("path-link")
        if turn.usage is not None:
            text(t("chat.tokens", n=number(sum(turn.usage), self._context.preferences.language)), tag="span")
        if turn.model:
            text(turn.model if turn.model == turn.provider else f"{turn.provider}/{turn.model}", tag="span")

    def _copy(self) -> None:
        ui.clipboard.write(self.turn.text)
        ui.notify(self._context.t("copied"), type="positive")


_STOPS = frozenset(
    f"stop.{reason}"
    for reason in (
        "not_found", "max_tool_steps", "max_tool_errors", "max_delegations", "max_depth", "deadline", "quota_exceeded",
        "provider_failure",
    )
)  # fmt: skip


def _reference(found: re.Match[str], numbers: set[str]) -> str:
    n = found[1]
    return f"[{n}](#source-{n})" if n in numbers else f"\\[{n}\\]"


def _state(step: ToolCall | Child) -> Hashable:
    if isinstance(step, Child):
        inner = tuple((call.call_id, call.status) for call in step.calls)
        return ("child", step.thread_id, step.status, inner, len(step.text))
    return (step.call_id, step.status, step.duration_ms, step.result is None)
