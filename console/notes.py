"""The memory page: the facts all conversations know."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from nicegui import ui

from console.api import ApiError
from console.context import Context
from console.dialogs import ask_text, confirm
from console.theme import box, icon_button, page_head, text

MAX_CHARS: Final = 500
PAGE: Final = 200


class NotesPage:
    """Read, add, correct and forget notes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: list[dict[str, Any]] = []

    async def open(self) -> None:
        """Raises ApiError."""
        t = self._context.t
        await self._load()
        with box("page"):
            page_head(t("notes.title"), t("notes.lead"))
            if self._context.visitor.manages:
                with box("card stack"):
                    self._field = ui.textarea(t("notes.new")).props(f"outlined autogrow counter maxlength={MAX_CHARS}")
                    self._field.mark("note-text")
                    with box("row-line").style("justify-content:flex-end"):
                        ui.button(t("notes.add"), on_click=self._add, color=None).props("flat no-caps").classes(
                            "solid"
                        ).mark("note-add")
            else:
                text(t("notes.read_only"), "notice")
            self._search = ui.input(placeholder=t("notes.search"), on_change=self._draw)
            self._search.props(f'outlined dense clearable debounce=150 aria-label="{t("notes.search")}"')
            self._list = box("list")
            self._draw()

    async def _load(self) -> None:
        self._rows = (await self._context.api.call("GET", "/v1/notes", params={"limit": PAGE}))["items"]

    async def _refresh(self) -> None:
        await self._load()
        self._draw()

    def _draw(self) -> None:
        t, wanted = self._context.t, (self._search.value or "").strip().lower()
        rows = [row for row in self._rows if wanted in row["text"].lower()]
        self._list.clear()
        with self._list:
            if not rows:
                text(t("threads.nothing") if wanted else t("notes.empty"), "empty")
            for row in rows:
                with box("item").mark("note"):
                    with box("grow"):
                        text(row["text"], "anywhere")
                        by = "notes.by_agent" if row["run_id"] else "notes.by"
                        text(t(by, user=row["created_by"], at=self._context.moment(row["created_at"])), "faint small")
                    if self._context.visitor.manages:
                        icon_button("edit", t("edit"), partial(self._edit, row))
                        icon_button("delete", t("delete"), partial(self._delete, row))

    async def _add(self) -> None:
        content = (self._field.value or "").strip()
        if content and await self._saved("POST", "/v1/notes", content):
            self._field.set_value("")
            ui.notify(self._context.t("notes.added"), type="positive")

    async def _edit(self, row: dict[str, Any]) -> None:
        t = self._context.t
        content = await ask_text(t, t("edit"), t("notes.new"), row["text"], limit=MAX_CHARS, lines=True)
        if content:
            await self._saved("PATCH", f"/v1/notes/{row['note_id']}", content)

    async def _saved(self, method: str, path: str, content: str) -> bool:
        """Whether the note was taken."""
        with self._context.telling():
            try:
                await self._context.api.call(method, path, json={"text": content})
            except ApiError as error:
                if error.status != 409:
                    raise
                ui.notify(self._context.t("notes.duplicate"), type="warning")
                return False
            await self._refresh()
            return True
        return False

    async def _delete(self, row: dict[str, Any]) -> None:
        t = self._context.t
        if await confirm(t, t("notes.delete"), row["text"], t("delete")):
            with self._context.telling():
                await self._context.api.call("DELETE", f"/v1/notes/{row['note_id']}")
                await self._refresh()
