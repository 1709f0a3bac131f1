"""What is wrong with a field of a form, said at the field."""

from __future__ import annotations

from collections.abc import Iterable

from nicegui import ui

from console.refusals import Refusal


def refuse(field: ui.element, problem: str, original: str | None = None) -> None:
    """Say at a field what is wrong with it; the API's own sentence shows where the pointer rests."""
    field.props["error"], field.props["error-message"] = True, problem[:1].upper() + problem[1:]
    if original:
        field.props["title"] = original
    field.update()


def refused(field: ui.element, refusal: Refusal) -> None:
    """Say at a field what the API refuses about it."""
    refuse(field, refusal.problem, refusal.original)


def clear(fields: Iterable[ui.element]) -> None:
    """Nothing is wrong with these any more."""
    for field in fields:
        field.props(remove="error error-message title")
