"""The page of jobs: what is worked at for the organisation, what came of it, what can be done about it."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from nicegui import ui

from console.context import Context
from console.failure import failure_notice
from console.keyed import KeyedList, Row
from console.theme import box, icon_button, page_head, text

PAGE: Final = 100
POLL_SECONDS: Final = 1.5
_RUN: Final = "agent.run"
_ICONS: Final = {_RUN: "forum", "document.ingest": "description"}
_CHIPS: Final = {"succeeded": "good", "failed": "bad", "running": "accent", "queued": "accent", "waiting": "warn"}
_AT_WORK: Final = frozenset({"queued", "running"})
_SHOWN: Final = ("all", "working", "failed")


class JobsPage:
    """Runs of agents and documents that are read, newest first; what is at work is followed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: list[dict[str, Any]] = []
        self._wanted = _SHOWN[0]

    async def open(self) -> None:
        """Raises ApiError."""
        t = self._context.t
        await self._load()
        with box("page"):
            page_head(t("jobs.title"), t("jobs.lead" if self._context.visitor.manages else "jobs.lead_own"))
            with box("row-line"):
                choices = {one: t(f"jobs.show.{one}") for one in _SHOWN}
                toggle = ui.toggle(choices, value=self._wanted, on_change=lambda event: self._choose(event.value))
                toggle.props(f'flat unelevated no-caps dense aria-label="{t("jobs.title")}"').classes("segmented")
                box("grow")
                icon_button("refresh", t("jobs.refresh"), self._refresh)
            self._list = KeyedList(box("list"))
            self._draw()
        ui.timer(POLL_SECONDS, self._poll)

    async def _load(self) -> None:
        params = {"limit": PAGE, **({"status": "failed"} if self._wanted == "failed" else {})}
        self._rows = (await self._context.api.call("GET", "/v1/jobs", params=params))["jobs"]

    async def _refresh(self) -> None:
        with self._context.telling():
            await self._load()
            self._draw()

    async def _poll(self) -> None:
        if any(row["status"] in _AT_WORK for row in self._rows):
            await self._refresh()

    async def _choose(self, wanted: str) -> None:
        self._wanted = wanted
        await self._refresh()

    def _draw(self) -> None:
        rows = [row for row in self._rows if self._wanted != "working" or row["status"] in _AT_WORK]
        shown = [Row((row["kind"], row["job_id"]), json.dumps(row), partial(self._row, row)) for row in rows]
        if not rows:
            none = self._context.t(f"jobs.none.{self._wanted}")
            shown.append(Row("none", none, partial(text, none, "empty")))
        self._list.show(shown)

    def _row(self, row: dict[str, Any]) -> ui.element:
        t, status = self._context.t, str(row["status"])
        with box("item").mark("job") as item:
            with box("kind"):
                ui.icon(_ICONS.get(row["kind"], "bolt"), size="20px")
            with box("grow"):
                self._title(row)
                text(" · ".join(self._facts(row)), "small faint anywhere")
                if status == "running" and row["progress"] is not None:
                    with box("bar").style("margin-top:8px").props("role=progressbar"):
                        box().style(f"width:{max(4, round(100 * row['progress']))}%")
                if row["error"]:
                    failure_notice(self._context, row["error"]).style("margin-top:8px")
            with box("row-line job-end"):
                shown = "waits" if status == "waiting" else status
                # Where there is little room, only what is not over yet needs a word: a failure has said so itself.
                place = "only-wide" if status in ("succeeded", "failed") else ""
                text(t(f"status.{shown}"), f"chip {_CHIPS.get(status, '')} {place}", "span")
                self._actions(row)
        return item

    def _title(self, row: dict[str, Any]) -> None:
        t, run = self._context.t, row["kind"] == _RUN
        shown = row["title"] or t("threads.untitled")
        target = f"/chat/{row['thread_id']}" if run else "/documents"
        ui.link(shown, target).classes("job-title anywhere strong")

    def _facts(self, row: dict[str, Any]) -> list[str]:
        t = self._context.t
        facts = [t(f"jobs.kind.{row['kind']}"), str(row["created_by"]), self._context.moment(row["created_at"])]
        # Once is as it should be.
        facts += [t("jobs.attempts", n=row["attempts"])] if (row["attempts"] or 0) > 1 else []
        facts += [t("passage.version", n=row["version"])] if (row["version"] or 0) > 1 else []
        facts += [t("jobs.resumes", at=self._context.moment(row["resumes_at"]))] if row["resumes_at"] else []
        return facts

    def _actions(self, row: dict[str, Any]) -> None:
        t = self._context.t
        if row["kind"] == _RUN:
            if row["status"] in _AT_WORK:
                icon_button("stop_circle", t("chat.stop"), partial(self._stop, row)).mark("job-stop")
            else:
                way = urlencode({"thread": row["thread_id"], "run": row["job_id"]})
                icon_button("account_tree", t("chat.path"), lambda: ui.navigate.to(f"/graph?{way}")).mark("job-path")
        elif row["status"] == "failed" and self._context.visitor.manages:
            icon_button("refresh", t("jobs.retry"), partial(self._retry, row)).mark("job-retry")

    async def _stop(self, row: dict[str, Any]) -> None:
        with self._context.telling():
            await self._context.api.cancel(row["thread_id"], row["job_id"])
        await self._refresh()

    async def _retry(self, row: dict[str, Any]) -> None:
        with self._context.telling():
            await self._context.api.call("POST", f"/v1/documents/{row['document_id']}/retry")
            ui.notify(self._context.t("jobs.retried"), type="positive")
        await self._refresh()
