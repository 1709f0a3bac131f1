"""The documents page: upload, follow the reading, label, replace, open, delete."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from html import escape
from typing import Any, Final

from nicegui import ui
from nicegui.events import UploadEventArguments

from console.api import ApiError
from console.context import Context
from console.dialogs import ask_text, confirm, window
from console.failure import failure_notice
from console.keyed import KeyedList, Row
from console.passage import open_text
from console.texts import size
from console.theme import box, menu_action, menu_button, page_head, text

MAX_BYTES: Final = 26_214_400
"""What the server takes unless it is configured otherwise; it has the last word."""
LOCAL_ONLY: Final = "local_only"
POLL_SECONDS: Final = 0.7
PAGE: Final = 200
_AT_WORK: Final = frozenset({"pending", "parsing", "indexing"})
_CHIPS: Final = {"ready": "good", "failed": "bad"}
_OVER: Final = frozenset(_CHIPS.values())


class DocumentsPage:
    """Everything an organisation has given its agents to read."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: list[dict[str, Any]] = []
        self._total = 0

    async def open(self) -> None:
        """Raises ApiError."""
        context, t = self._context, self._context.t
        await self._load()
        with box("page"):
            page_head(t("documents.title"), t("documents.lead"))
            if context.visitor.manages:
                self._draw_upload()
            else:
                text(t("documents.read_only"), "notice")
            with box("row-line"):
                self._search = ui.input(placeholder=t("documents.search"), on_change=self._draw)
                self._search.props(
                    f'outlined dense clearable debounce=150 aria-label="{t("documents.search")}"'
                ).classes("grow")
                self._count = text("", "faint small")
            self._list = KeyedList(box("list"))
            self._draw()
        ui.timer(POLL_SECONDS, self._poll)

    def _draw_upload(self) -> None:
        t = self._context.t
        with box("stack"):
            self._drop(self._uploaded, multiple=True).mark("upload")
            self._local = ui.switch(t("documents.local_only")).mark("local-only")
            self._local.tooltip(t("documents.local_only_help"))

    def _drop(self, on_upload: Callable[[UploadEventArguments], Awaitable[None]], *, multiple: bool) -> ui.upload:
        """Where files are dropped, or chosen by a click anywhere in it."""
        t, limit = self._context.t, size(MAX_BYTES, self._context.preferences.language)

        async def taken(event: UploadEventArguments) -> None:
            await on_upload(event)
            upload.run_method("removeUploadedFiles")

        upload = ui.upload(
            multiple=multiple,
            auto_upload=True,
            max_file_size=MAX_BYTES,
            on_upload=taken,
            on_rejected=lambda: ui.notify(t("documents.rejected", size=limit), type="warning"),
        )
        name, kinds = escape(t("documents.drop")), escape(t("documents.kinds", size=limit))
        face = f'<q-icon name="cloud_upload" /><b>{name}</b><span>{kinds}</span><q-uploader-add-trigger />'
        upload.add_slot(
            "header", f'<div class="drop-face" tabindex="0" role="button" @keydown.enter="props.pickFiles">{face}</div>'
        )
        return upload.props("flat").classes("drop")

    async def _uploaded(self, event: UploadEventArguments) -> None:
        await self._send(event, None)

    async def _send(self, event: UploadEventArguments, document_id: str | None) -> None:
        t, file = self._context.t, event.file
        labels = [LOCAL_ONLY] if document_id is None and self._local.value else []
        try:
            await self._context.api.upload(
                file.name, await file.read(), file.content_type, labels=labels, document_id=document_id
            )
        except ApiError as error:
            if error.code == "unsupported":
                said = t("documents.failed", name=file.name, message=t("documents.unsupported"))
                ui.notify(said, type="negative", multi_line=True, close_button=t("close"), timeout=0)
            else:
                self._context.tell(error, about=file.name)
            return
        ui.notify(t("documents.uploaded", name=file.name), type="positive")
        await self._refresh()

    async def _poll(self) -> None:
        if any(row["status"] in _AT_WORK for row in self._rows):
            await self._refresh()

    async def _refresh(self) -> None:
        with self._context.telling():
            await self._load()
            self._draw()

    async def _load(self) -> None:
        page = await self._context.api.call("GET", "/v1/documents", params={"limit": PAGE})
        self._rows, self._total = page["items"], page["total"]

    def _draw(self) -> None:
        t, wanted = self._context.t, (self._search.value or "").strip().lower()
        rows = [
            row for row in self._rows if wanted in f"{row['title']} {row['filename']} {' '.join(row['labels'])}".lower()
        ]
        self._count.set_text(t("documents.total", n=self._total))
        shown = [Row(row["document_id"], json.dumps(row), partial(self._row, row)) for row in rows]
        if not rows:
            none = t("threads.nothing" if wanted else "documents.empty")
            shown.append(Row("none", none, partial(text, none, "empty")))
        self._list.show(shown)

    def _row(self, row: dict[str, Any]) -> ui.element:
        t, language = self._context.t, self._context.preferences.language
        with box("item").mark("document") as item:
            text(str(row["filename"]).rpartition(".")[2].upper()[:4], "kind")
            with box("grow"):
                text(str(row["title"]), "anywhere strong")
                with box("row-line small faint"):
                    facts = [size(row["size_bytes"], language)]
                    facts += [t("documents.chunks", n=row["chunks"])] if row["chunks"] is not None else []
                    facts += [t("documents.pages", n=row["pages"])] if row["pages"] is not None else []
                    facts += [t("passage.version", n=row["version"])] if row["version"] > 1 else []
                    text(" · ".join(facts))
                    for label in row["labels"]:
                        text(label, f"chip {'warn' if label == LOCAL_ONLY else ''}", "span")
                if row["status"] in _AT_WORK:
                    with box("bar").style("margin-top:8px").props("role=progressbar"):
                        box().style(f"width:{max(4, round(100 * (row['progress'] or 0)))}%")
                if row["error"]:
                    failure_notice(self._context, row["error"]).style("margin-top:8px")
            chip = _CHIPS.get(row["status"], "accent")
            text(t(f"status.{row['status']}"), f"chip {chip} {'only-wide' if chip in _OVER else ''}", "span")
            self._actions(row)
        return item

    def _actions(self, row: dict[str, Any]) -> None:
        t, manages = self._context.t, self._context.visitor.manages

        def fill() -> None:
            if row["status"] == "ready":
                menu_action("article", t("documents.open"), lambda: open_text(self._context, row))
            if manages and row["status"] == "failed":
                menu_action("refresh", t("jobs.retry"), lambda: self._retry(row))
            if manages:
                menu_action("label", t("documents.labels"), lambda: self._label(row))
                menu_action("upload_file", t("documents.next"), lambda: self._replace(row))
                menu_action("delete", t("delete"), lambda: self._delete(row))

        if manages or row["status"] == "ready":
            menu_button("more_vert", t("documents.actions", title=row["title"]), fill).mark("document-actions")

    async def _label(self, row: dict[str, Any]) -> None:
        t = self._context.t
        hint = f"{t('documents.labels_hint')} · local_only: {t('chat.local_only')}"
        given = await ask_text(
            t, t("documents.labels"), t("documents.labels"), ", ".join(row["labels"]), limit=500, hint=hint
        )
        if given is None:
            return
        labels = [label.strip() for label in given.split(",") if label.strip()]
        with self._context.telling():
            await self._context.api.call("PATCH", f"/v1/documents/{row['document_id']}", json={"labels": labels})
            await self._refresh()

    async def _retry(self, row: dict[str, Any]) -> None:
        with self._context.telling():
            await self._context.api.call("POST", f"/v1/documents/{row['document_id']}/retry")
        await self._refresh()

    async def _replace(self, row: dict[str, Any]) -> None:
        t = self._context.t

        async def sent(event: UploadEventArguments) -> None:
            dialog.close()
            await self._send(event, row["document_id"])

        with window(opened=True) as dialog, box("form"):
            text(t("documents.next"), tag="h2")
            text(str(row["title"]), "muted anywhere")
            self._drop(sent, multiple=False)

    async def _delete(self, row: dict[str, Any]) -> None:
        t = self._context.t
        if not await confirm(t, t("documents.delete"), t("documents.delete_text", title=row["title"]), t("delete")):
            return
        with self._context.telling():
            await self._context.api.call("DELETE", f"/v1/documents/{row['document_id']}")
            await self._refresh()
