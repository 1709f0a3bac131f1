"""The graph page: the compiled graph, and for any answer the way it took, with time and tokens at each node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from nicegui import ui

from console.agents import Agents
from console.api import ASSISTANT
from console.context import Context
from console.conversations import title_of
from console.drawing import draw
from console.naming import tool_title
from console.path import Part, Path, Pause, Step, answers, instant, path_of, resumed
from console.texts import number
from console.theme import box, icon_button, text

MAX_STATES: Final = 300
MAX_CHILDREN: Final = 40
_PART: Final = re.compile('data-subgraph="([^"]+)"')
_ZOOM: Final = 1.25
_GOOD: Final = frozenset({"success"})
_BUSY: Final = frozenset({"pending", "running"})
_DECISIONS: Final = frozenset({"approve", "edit", "reject"})
_NEWEST: Final = 100


class GraphPage:
    """The picture on one side, the way on the other."""

    def __init__(self, context: Context, thread_id: str | None, run_id: str | None) -> None:
        self._context, self._thread_id, self._run_id = context, thread_id, run_id
        self._path: Path | None = None
        self._chosen: str | None = None
        self._scale: float | None = None
        self._answers: list[list[Mapping[str, Any]]] = []
        self._given: list[dict[str, Any]] = []
        self._waiting = False

    async def open(self) -> None:
        """Raises ApiError."""
        context, t = self._context, self._context.t
        self._agents = await Agents.load(context.api, context.preferences.language)
        self._picture = (await context.api.raw("GET", f"/assistants/{ASSISTANT}/drawing")).text
        threads = await context.api.threads(limit=100)
        explained: list[dict[str, Any]] = []
        if self._thread_id is not None:
            runs = await context.api.call("GET", f"/threads/{self._thread_id}/runs", params={"limit": _NEWEST})
            self._answers = answers(runs)
            if (asked := await self._asked(self._thread_id)) is not None:
                self._run_id = str(asked[-1]["run_id"])
                explained = await self._load(self._thread_id, asked)
        with box("graph"):
            with box("graph-canvas").props("tabindex=0 role=region").props(f'aria-label="{t("graph.title")}"'):
                with box("zoom"):
                    icon_button("remove", t("graph.zoom_out"), lambda: self._zoom(1 / _ZOOM), "quiet tiny")
                    icon_button("fit_screen", t("graph.fit"), lambda: self._zoom(None), "quiet tiny")
                    icon_button("add", t("graph.zoom_in"), lambda: self._zoom(_ZOOM), "quiet tiny")
                # Drawn by our own server, every name in it escaped.
                self._canvas = ui.html("", sanitize=False).mark("graph-picture")
            with box("graph-panel"):
                text(t("graph.lead"), "muted small")
                self._choices(threads)
                self._panel = box("stack")
        self._redraw()
        # Where the picture is wider than the screen, it begins where the graph does.
        ui.run_javascript(
            "document.querySelector('.node[data-node=__start__]')?.scrollIntoView({inline: 'center', block: 'nearest'})"
        )
        with self._panel:
            self._describe(explained)

    async def _asked(self, thread_id: str) -> list[Mapping[str, Any]] | None:
        """The runs of the answer that the page is about; the newest where none is named, None where there is none."""
        if self._run_id is None:
            return self._answers[-1] if self._answers else None
        for runs in self._answers:
            if any(run["run_id"] == self._run_id for run in runs):
                return runs
        # An older one than the list goes back to. Raises ApiError where it isn't of this conversation.
        return [await self._context.api.call("GET", f"/threads/{thread_id}/runs/{self._run_id}")]

    async def _load(self, thread_id: str, runs: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What the API tells of each run's calls; the path is theirs together."""
        api = self._context.api
        told = await api.call("GET", f"/v1/threads/{thread_id}/children")
        children = [(str(one["thread_id"]), str(one["agent"])) for one in told["children"][-MAX_CHILDREN:]]
        parts, explained = [], []
        for run in runs:
            run_id, of_run = str(run["run_id"]), {"run_id": run["run_id"]}
            explained.append(dict(await api.call("GET", f"/threads/{thread_id}/runs/{run_id}/explain")))
            states = await api.history(thread_id, limit=MAX_STATES, metadata=of_run)
            inner = [
                (child, agent, await api.history(child, limit=MAX_STATES, metadata=of_run)) for child, agent in children
            ]
            ended = None if run["status"] in _BUSY else instant(run["updated_at"])
            found = [one for one in inner if one[2]]
            parts.append(Part(run_id, instant(run["created_at"]), ended, states, found, explained[-1]["calls"]))
        self._path = path_of(parts, drawn=set(_PART.findall(self._picture)))
        if any(step.asked for step in self._path.steps):
            self._given = (await api.call("GET", f"/v1/threads/{thread_id}/approvals"))["approvals"]
        # The newest run has asked, and nobody has answered.
        newest = runs is self._answers[-1] if self._answers else False
        self._waiting = newest and any(step.asked and step.ended == parts[-1].ended for step in self._path.steps)
        return explained

    def _choices(self, threads: list[dict[str, Any]]) -> None:
        t = self._context.t
        options = {thread["thread_id"]: title_of(thread, t) for thread in threads}
        if self._thread_id is not None:
            options.setdefault(self._thread_id, self._thread_id)
        picked = ui.select(
            options,
            value=self._thread_id,
            label=t("graph.thread"),
            with_input=True,
            on_change=lambda event: (
                ui.navigate.to(f"/graph?{urlencode({'thread': event.value})}") if event.value else None
            ),
        )
        picked.props("outlined dense").mark("graph-thread")
        if self._answers:
            shown = {str(runs[-1]["run_id"]): self._called(runs) for runs in reversed(self._answers)}
            ui.select(
                shown,
                value=self._run_id if self._run_id in shown else None,
                label=t("graph.run"),
                on_change=lambda event: ui.navigate.to(
                    f"/graph?{urlencode({'thread': self._thread_id, 'run': event.value})}"
                ),
            ).props("outlined dense").mark("graph-run")

    def _called(self, runs: list[Mapping[str, Any]]) -> str:
        """What an answer is found by: when, and to what question."""
        t, first = self._context.t, runs[0]
        asked = _question(first) or t("graph.decided" if resumed(first) else "chat.retry")
        return f"{self._context.moment(first['created_at'])} · {asked}"

    def _describe(self, explained: list[dict[str, Any]]) -> None:
        t = self._context.t
        if not explained or self._path is None:
            text(t("graph.choose" if self._thread_id is None else "graph.no_runs"), "notice")
            text(t("graph.legend"), "faint small")
            return
        path, status = self._path, "waits" if self._waiting else str(explained[-1]["status"])
        calls = [call for one in explained for call in one["calls"]]
        with box("row-line").mark("graph-total"):
            colour = "good" if status in _GOOD else "accent" if status in _BUSY else "warn" if self._waiting else "bad"
            text(t(f"status.{status}"), f"chip {colour}", "span")
            text(self._duration(path.ms), "chip", "span")
            tokens = [(one["tokens"]["prompt"], one["tokens"]["completion"]) for one in explained]
            text(self._in_out((sum(one for one, _ in tokens), sum(two for _, two in tokens))), "chip", "span")
            text(t("graph.steps", n=len(path.steps)), "chip", "span")
        text(t("graph.path"), "field-name")
        with box("way").props("role=list"):
            for one in path.way:
                if isinstance(one, Pause):
                    self._pause(one)
                else:
                    self._step(one)
            if self._waiting:
                self._undecided()
        if calls:
            text(t("graph.calls"), "field-name")
            for call in calls:
                self._call(call)
        text(t("graph.legend"), "faint small")

    def _step(self, step: Step) -> None:
        with box("deep" if step.deep else "").props("role=listitem").mark("graph-step"):
            with box("", "button").props("type=button").style("width:100%") as button:
                box("dot", "span")
                with box("grow"):
                    text(step.node.rpartition(":")[2], "mono one-line")
                    about = [self._agents.title(step.agent)] if step.deep else []
                    if step.tokens is not None:
                        about.append(self._in_out(step.tokens))
                    about += list(
                        dict.fromkeys(f"{call['provider']}/{call['model']}" for call in step.calls if call.get("model"))
                    )
                    if about:
                        text(" · ".join(about), "faint small anywhere")
                text(self._duration(step.ms), "ms", "span")
            button.on("click", lambda: self._choose(step.node))

    def _pause(self, pause: Pause) -> None:
        """Where somebody decided: who, when, what, and how long it had waited."""
        t = self._context.t
        given = [one for one in self._given if one["run_id"] == pause.run_id]
        about = [str(one["decided_by"]) for one in given[:1]]
        about += [self._context.moment(pause.ended.isoformat()), t("graph.waited", time=self._duration(pause.ms))]
        with box("pause").props("role=listitem").mark("graph-decision"):
            ui.icon("front_hand", size="18px")
            with box("grow"):
                text(t("graph.decided"), "strong")
                for action in (action for one in given for action in one["actions"]):
                    kind = action["decision"] if action["decision"] in _DECISIONS else "approve"
                    text(t(f"graph.decision.{kind}", name=tool_title(action["name"], t)), "small anywhere")
                    if action["message"]:
                        text(t("chat.quote", quote=action["message"]), "small muted anywhere")
                text(" · ".join(about), "faint small anywhere")

    def _undecided(self) -> None:
        t = self._context.t
        with box("pause").props("role=listitem").mark("graph-undecided"):
            ui.icon("front_hand", size="18px")
            with box("grow"):
                text(t("chat.waiting"), "strong")
                ui.link(t("graph.decide"), f"/chat/{self._thread_id}").classes("small")

    def _call(self, call: Mapping[str, Any]) -> None:
        t = self._context.t
        title = f"{self._agents.title(str(call['agent']))} · {call.get('model') or t('none')}"
        with ui.expansion(title).props("dense").classes("step").mark("graph-call"):
            for attempt in call["attempts"]:
                good = attempt["outcome"] == "answered"
                with box("row-line small"):
                    text(t("graph.attempt", n=attempt["number"]), "muted", "span")
                    text(f"{attempt['provider']}/{attempt['model']}", "mono", "span")
                    text(str(attempt["outcome"]), f"chip {'good' if good else 'bad'}", "span")
                    if attempt["latency_ms"] is not None:
                        text(self._duration(attempt["latency_ms"]), "faint", "span")
                if attempt["message"]:
                    text(str(attempt["message"]), "notice warn small")
            if call["candidates"]:
                text(t("graph.why"), "field-name")
                for candidate in call["candidates"]:
                    text(f"{candidate['provider']}/{candidate['model']} — {candidate['reason']}", "small mono anywhere")
            if call["eliminations"]:
                text(t("graph.excluded"), "field-name")
                for one in call["eliminations"]:
                    text(f"{one['provider']} — {one['reason']}", "faint small mono anywhere")

    def _choose(self, node: str) -> None:
        self._chosen = None if node == self._chosen else node
        self._redraw()
        if self._chosen is not None:
            ui.run_javascript(
                "document.querySelector('.node.chosen')?.scrollIntoView({block: 'center', inline: 'center', behavior: 'smooth'})"
            )

    def _redraw(self) -> None:
        visits = self._path.visits if self._path is not None else {}
        badges = {node: self._badge(steps) for node, steps in visits.items()}
        self._canvas.set_content(draw(self._picture, self._path, badges, self._chosen, scale=self._scale))

    def _badge(self, steps: list[Step]) -> str:
        t = self._context.t
        told = [step.tokens for step in steps if step.tokens is not None]
        parts = [self._duration(sum(step.ms for step in steps))]
        parts += [t("chat.tokens", n=self._number(sum(map(sum, told))))] if told else []
        parts += [t("graph.times", n=len(steps))] if len(steps) > 1 else []
        return " · ".join(parts)

    def _zoom(self, factor: float | None) -> None:
        self._scale = None if factor is None else min(4.0, max(0.3, (self._scale or 1.0) * factor))
        self._redraw()

    def _duration(self, ms: int) -> str:
        t = self._context.t
        if ms < 1000:
            return t("graph.ms", n=ms)
        seconds = f"{ms / 1000:.1f}"
        return t(
            "graph.seconds", n=seconds.replace(".", ",") if self._context.preferences.language == "ru" else seconds
        )

    def _in_out(self, tokens: tuple[int, int]) -> str:
        return self._context.t("graph.in_out", prompt=self._number(tokens[0]), completion=self._number(tokens[1]))

    def _number(self, value: int) -> str:
        return number(value, self._context.preferences.language)


def _question(run: Mapping[str, Any]) -> str:
    """What a run was asked, cut to a line; "" where it went on from a checkpoint."""
    given = (run.get("kwargs") or {}).get("input") or {}
    messages = given.get("messages") if isinstance(given, dict) else None
    line = " ".join(str((messages or [{}])[-1].get("content") or "").split())
    return line if len(line) <= 60 else line[:59] + "…"
