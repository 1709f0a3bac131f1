"""The list of conversations beside every page: find, rename, put away, take along, delete."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from nicegui import ui

from console.context import Context
from console.dialogs import ask_text, confirm
from console.keyed import KeyedList, Row
from console.texts import Words
from console.theme import box, menu_action, menu_button, text
from console.transcript import Child, turns_of

TITLE_CHARS = 60
MAX_TITLE_CHARS = 200
"""A program may give a conversation any title, and every page lists it."""


class Conversations:
    """The list. `current` is the conversation that is open; `show` loads it anew."""

    def __init__(self, context: Context, current: str | None) -> None:
        self._context = context
        self._threads: list[dict[str, Any]] = []
        self._archived = False
        self.current = current
        t = context.t
        self.search = ui.input(placeholder=t("threads.search"), on_change=self._draw)
        self.search.props(f'outlined dense clearable debounce=150 aria-label="{t("threads.search")}"').mark(
            "thread-search"
        )
        with self.search.add_slot("prepend"):
            ui.icon("search", size="18px")
        place = box("threads").props(f'role=navigation aria-label="{t("nav.chat")}"')
        self._rows = KeyedList(place)
        self._switch = ui.button(t("threads.archived"), on_click=self._toggle, icon="inventory_2", color=None)
        self._switch.props("flat no-caps dense align=left").classes("quiet tiny")

    async def show(self) -> None:
        """Load the conversations and draw them."""
        with self._context.telling():
            self._threads = await self._context.api.threads()
            self._draw()

    def _toggle(self) -> None:
        self._archived = not self._archived
        self._switch.set_text(self._context.t("threads.active" if self._archived else "threads.archived"))
        self._draw()

    def _draw(self) -> None:
        t, wanted = self._context.t, (self.search.value or "").strip().lower()
        shown = [
            thread
            for thread in self._threads
            if bool(thread["metadata"].get("archived")) == self._archived and wanted in title_of(thread, t).lower()
        ]
        rows: list[Row] = []
        if not shown:
            none = t("threads.nothing" if wanted or self._archived else "threads.empty")
            rows.append(Row("none", none, partial(text, none, "threads-none")))
        group = ""
        for thread in shown:
            if (age := _age(str(thread["updated_at"]))) != group:
                group = age
                rows.append(Row(age, None, partial(text, t(age), "thread-group")))
            state = (title_of(thread, t), thread["thread_id"] == self.current, self._archived)
            rows.append(Row(thread["thread_id"], state, partial(self._row, thread)))
        self._rows.show(rows)

    def _row(self, thread: dict[str, Any]) -> ui.element:
        t, title, here = self._context.t, title_of(thread, self._context.t), thread["thread_id"] == self.current
        with box(f"thread {'here' if here else ''}").mark("thread") as row:
            link = ui.link(title, f"/chat/{thread['thread_id']}").props(
                f"title={json.dumps(title, ensure_ascii=False)}"
            )
            if here:
                link.props("aria-current=page")
            name = t("threads.actions", title=title)
            menu_button("more_horiz", name, lambda: self._actions(thread), "quiet tiny").mark("thread-actions")
        return row

    def _actions(self, thread: dict[str, Any]) -> None:
        t, archived = self._context.t, bool(thread["metadata"].get("archived"))
        menu_action("edit", t("threads.rename"), lambda: self._rename(thread))
        menu_action(
            "unarchive" if archived else "archive",
            t("threads.unarchive" if archived else "threads.archive"),
            lambda: self._patch(thread, {"archived": not archived}),
        )
        menu_action("description", t("threads.export_md"), lambda: self._export(thread, "md"))
        menu_action("data_object", t("threads.export_json"), lambda: self._export(thread, "json"))
        menu_action("delete", t("delete"), lambda: self._delete(thread))

    async def _rename(self, thread: dict[str, Any]) -> None:
        t = self._context.t
        title = await ask_text(t, t("threads.rename"), t("threads.title"), title_of(thread, t), limit=120)
        if title:
            await self._patch(thread, {"title": title})

    async def _patch(self, thread: dict[str, Any], metadata: dict[str, Any]) -> None:
        with self._context.telling():
            await self._context.api.call("PATCH", f"/threads/{thread['thread_id']}", json={"metadata": metadata})
            await self.show()

    async def _delete(self, thread: dict[str, Any]) -> None:
        t, title = self._context.t, title_of(thread, self._context.t)
        if not await confirm(t, t("threads.delete"), t("threads.delete_text", title=title), t("delete")):
            return
        with self._context.telling():
            await self._context.api.call("DELETE", f"/threads/{thread['thread_id']}")
            if thread["thread_id"] == self.current:
                ui.navigate.to("/")
            else:
                await self.show()

    async def _export(self, thread: dict[str, Any], form: str) -> None:
        title = title_of(thread, self._context.t)
        with self._context.telling():
            whole = await self._context.api.call("GET", f"/threads/{thread['thread_id']}")
            if form == "json":
                content, media_type = json.dumps(whole, ensure_ascii=False, indent=2), "application/json"
            else:
                content, media_type = as_markdown(whole, self._context.t), "text/markdown"
            name = re.sub(r"[^\w .-]+", "_", title).strip("_ .") or "conversation"
            ui.download.content(content.encode(), f"{name}.{form}", media_type)


def title_of(thread: Mapping[str, Any], t: Words) -> str:
    """What a conversation is called."""
    return str((thread.get("metadata") or {}).get("title") or t("threads.untitled"))[:MAX_TITLE_CHARS]


def first_title(question: str) -> str:
    """What a conversation is called that begins with this question."""
    line = " ".join(question.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def as_markdown(thread: Mapping[str, Any], t: Words) -> str:
    """A conversation to be read elsewhere: questions, answers, who worked on them, the sources with their quotes."""
    lines = [f"# {title_of(thread, t)}", ""]
    for turn in turns_of((thread.get("values") or {}).get("messages") or []):
        lines += [f"## {t('chat.you')}", "", turn.question, ""]
        lines += [f"- {step.agent}: {step.task}" for step in turn.steps if isinstance(step, Child)]
        lines += ["", f"## {t('app')}", "", turn.text or t("chat.missing_answer"), ""]
        if turn.citations:
            lines += [f"### {t('chat.sources')}", ""]
        for cited in turn.citations:
            page = f", {t('chat.page', n=cited['page'])}" if cited.get("page") is not None else ""
            lines += [f"[{cited.get('n')}] **{cited.get('title')}**{page}", "", f"> {cited.get('quote')}", ""]
    return "\n".join(lines)


def _age(updated: str) -> str:
    at, now = datetime.fromisoformat(updated.replace("Z", "+00:00")), datetime.now(UTC)
    if at.date() == now.date():
        return "threads.today"
    if at.date() == (now - timedelta(days=1)).date():
        return "threads.yesterday"
    return "threads.week" if now - at < timedelta(days=7) else "threads.earlier"
