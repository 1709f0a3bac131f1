"""A citation opened: its words marked in the text of the document they are from."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import urlsplit

from nicegui import ui

from console.api import ApiError
from console.context import Context
from console.dialogs import window
from console.theme import box, icon_button, text


async def open_passage(context: Context, source: Mapping[str, Any]) -> None:
    """Show where a citation's words stand: in its document, or on the page of the web they are from."""
    if is_web(source.get("url")):
        ui.navigate.to(str(source["url"]), new_tab=True)
        return
    if not source.get("document_id"):
        return
    try:
        found = await context.api.passage(source)
    except ApiError as error:
        gone = error.status == 404
        ui.notify(context.t("passage.gone") if gone else context.explain(error), type="warning" if gone else "negative")
        return
    _Window(context, found)


async def open_text(context: Context, document: Mapping[str, Any]) -> None:
    """Show the whole text of a document's newest version."""
    with context.telling():
        path = f"/v1/documents/{document['document_id']}/versions/{document['version']}/text"
        whole = await context.api.call("GET", path)
        found = {
            **document,
            "page": None,
            "section": None,
            "start": 0,
            "end": 0,
            "before": "",
            "text": "",
            "after": whole["text"],
        }
        _Window(context, found)


def is_web(url: Any) -> bool:
    """Whether it is an address a browser may be sent to."""
    return isinstance(url, str) and urlsplit(url).scheme in ("http", "https")


class _Window:
    """The dialog with the text around a passage, or the whole document's."""

    def __init__(self, context: Context, found: Mapping[str, Any]) -> None:
        self._context, self._found = context, found
        t = context.t
        with (
            window(opened=True) as self._dialog,
            box("passage").props(f'role=dialog aria-label="{t("passage.title")}"'),
        ):
            with box("passage-head"):
                ui.icon("description", size="24px").classes("faint")
                with box("grow"):
                    text(str(found["title"]), "anywhere", "h2")
                    text(" · ".join(self._place()), "small muted anywhere")
                icon_button("close", t("close"), self._dialog.close)
            self._text = ui.html("", sanitize=False).classes("passage-text").props("tabindex=0").mark("passage")
            with box("passage-foot"):
                if found["text"]:
                    self._whole = ui.button(t("passage.whole"), icon="article", on_click=self._show_all, color=None)
                    self._whole.props("flat no-caps").classes("outline tiny")
                ui.button(t("passage.file"), icon="download", on_click=self._download, color=None).props(
                    "flat no-caps"
                ).classes("outline tiny")
        self._dialog.on("hide", self._dialog.delete)
        cut = ("…" if found["start"] > len(found["before"]) else "", "…" if found["after"] and found["text"] else "")
        self._fill(cut[0] + str(found["before"]), str(found["text"]), str(found["after"]) + cut[1])

    def _place(self) -> list[str]:
        t, found = self._context.t, self._found
        place = [t("chat.page", n=found["page"])] if found.get("page") is not None else []
        place += [str(found["section"])] if found.get("section") else []
        return [*place, t("passage.version", n=found["version"])]

    def _fill(self, before: str, marked: str, after: str) -> None:
        # Everything is escaped here; the mark is the only markup.
        mark = f'<mark id="passage-mark">{escape(marked)}</mark>' if marked else ""
        self._text.set_content(f"{escape(before)}{mark}{escape(after)}")
        if marked:
            # once the window stands there
            ui.run_javascript(
                "setTimeout(() => document.getElementById('passage-mark')?.scrollIntoView({block: 'center'}), 250)"
            )

    async def _show_all(self) -> None:
        found = self._found
        with self._context.telling():
            path = f"/v1/documents/{found['document_id']}/versions/{found['version']}/text"
            whole = str((await self._context.api.call("GET", path))["text"])
            self._fill(whole[: found["start"]], whole[found["start"] : found["end"]], whole[found["end"] :])
            self._whole.delete()

    async def _download(self) -> None:
        found = self._found
        with self._context.telling():
            path = f"/v1/documents/{found['document_id']}/versions/{found['version']}"
            record = await self._context.api.call("GET", f"/v1/documents/{found['document_id']}")
            answer = await self._context.api.raw("GET", f"{path}/content")
            ui.download.content(answer.content, str(record["filename"]), answer.headers.get("content-type", ""))
