"""What is wrong with a field of a form, said at the field."""

from __future__ import annotations

from collections.abc import Iterable

from nicegui import ui


def refuse(field: ui.element, problem: str) -> None:
    """Say at a field what is wrong with it."""
    field.props["error"], field.props["error-message"] = True, problem
    field.update()


def clear(fields: Iterable[ui.element]) -> None:
    """Nothing is wrong with these any more."""
    for field in fields:
        field.props(remove="error error-message")
