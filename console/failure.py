"""Why something failed, where it stands: in the visitor's words, the API's own sentence folded beneath."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from console.context import Context
from console.theme import box, text


def failure_notice(context: Context, error: Mapping[str, Any], before: str = "") -> ui.element:
    """A notice of a record's `{code, message}`, after the sentence `before`."""
    told = context.failure(error)
    with box("notice bad small").mark("failure-notice") as notice:
        text(f"{before} {told.sentence(context.t)}".strip(), "anywhere")
        if told.original:
            with box("original", "details"):
                text(context.t("error.original"), tag="summary")
                text(told.original, "anywhere")
    return notice
