"""A list on the page that is drawn again without taking from under the visitor's hand what hasn't changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from nicegui import ui


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `key` is what it is, `state` all that is seen of it, `draw` builds it; it makes one element."""

    key: Hashable
    state: Hashable
    draw: Callable[[], ui.element]


class KeyedList:
    """The rows in `place`. A row whose state is the same stays the element it was: a menu open in it stays open."""

    def __init__(self, place: ui.element) -> None:
        self._place = place
        self._drawn: dict[Hashable, tuple[Hashable, ui.element]] = {}

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows in this order; their keys are unique."""
        wanted = {row.key: row.state for row in rows}
        for key, (state, element) in list(self._drawn.items()):
            if key not in wanted or wanted[key] != state:
                element.delete()
                del self._drawn[key]
        for at, row in enumerate(rows):
            if row.key not in self._drawn:
                with self._place:
                    self._drawn[row.key] = row.state, row.draw()
            element = self._drawn[row.key][1]
            if self._place.default_slot.children[at] is not element:
                element.move(self._place, at)
