"""The small windows every page needs: asking back, asking for a line of text, the keyboard's shortcuts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import ui

from console.refusals import Refusal
from console.texts import Words
from console.theme import box, text


@contextmanager
def window(*, opened: bool = False) -> Iterator[ui.dialog]:
    """A dialog of the page itself: what it was opened from, a menu or a row, may go while it is open."""
    with ui.context.client.content, ui.dialog(value=opened) as dialog:
        yield dialog


def refused(field: ui.element, refusal: Refusal) -> None:
    """Say at a field of a form what the API refuses about it; its own sentence shows where the pointer rests."""
    field.props["error"], field.props["error-message"] = True, refusal.problem[:1].upper() + refusal.problem[1:]
    if refusal.original:
        field.props["title"] = refusal.original
    field.update()


async def confirm(t: Words, title: str, content: str, action: str) -> bool:
    """Whether the visitor really wants it."""
    with window() as dialog, box("form").props("role=alertdialog"):
        text(title, tag="h2")
        text(content, "muted anywhere")
        with box("end"):
            ui.button(t("cancel"), on_click=lambda: dialog.submit(False), color=None).props("flat no-caps").classes(
                "outline"
            )
            ui.button(action, on_click=lambda: dialog.submit(True), color=None).props("flat no-caps autofocus").classes(
                "danger"
            ).mark("confirm")
    answer = await dialog
    dialog.delete()
    return bool(answer)


async def ask_text(
    t: Words,
    title: str,
    label: str,
    value: str,
    *,
    limit: int = 200,
    lines: bool = False,
    hint: str = "",
    action: str = "",
) -> str | None:
    """A text of at most `limit` characters; None where the visitor thinks better of it. May be empty."""
    with window() as dialog, box("form"):
        text(title, tag="h2")
        field = (ui.textarea if lines else ui.input)(label, value=value)
        field.mark("dialog-text").props(f"outlined autofocus maxlength={limit} {'autogrow counter' if lines else ''}")
        if hint:
            field.props["hint"] = hint
        if not lines:
            field.on("keydown.enter", lambda: dialog.submit(field.value))
        with box("end"):
            ui.button(t("cancel"), on_click=lambda: dialog.submit(None), color=None).props("flat no-caps").classes(
                "outline"
            )
            ui.button(action or t("save"), on_click=lambda: dialog.submit(field.value), color=None).props(
                "flat no-caps"
            ).classes("solid").mark("dialog-save")
    answer = await dialog
    dialog.delete()
    return None if answer is None else str(answer).strip()


def show_keys(t: Words) -> None:
    """The keyboard's shortcuts."""
    with window(opened=True) as dialog, box("form"):
        text(t("menu.keys"), tag="h2")
        with box("keys"):
            for key, meaning in (
                ("/", "keys.ask"),
                ("N", "keys.new"),
                ("S", "keys.search"),
                ("?", "keys.help"),
                ("Enter", "keys.send"),
                ("Shift+Enter", "keys.line"),
                ("Esc", "keys.close"),
            ):
                text(key, tag="kbd")
                text(t(meaning))
        with box("end"):
            ui.button(t("close"), on_click=dialog.close, color=None).props("flat no-caps autofocus").classes("outline")
    dialog.on("hide", dialog.delete)
