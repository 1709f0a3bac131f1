"""What was found out about messages, so that a long conversation isn't gone through anew for every prompt."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from langchain_core.messages import BaseMessage

T = TypeVar("T")
LONGEST = 4_000
"""Characters of a message that is kept here; of longer ones everything is found out anew."""


class Remembered(Generic[T]):
    """By the message itself, which is held so that no other takes its place; messages are read, never changed. The oldest of `size`
    go first."""

    def __init__(self, size: int = 5_000) -> None:
        self._size = size
        self._known: dict[tuple[int, Hashable], tuple[BaseMessage, T]] = {}

    def get(self, message: BaseMessage, find: Callable[[BaseMessage], T], by: Hashable = None) -> T:
        """What `find` finds; `by` is what else that depends on."""
        key = (id(message), by)
        known = self._known.get(key)
        if known is not None:
            return known[1]
        found = find(message)
        if length(message) <= LONGEST:
            if len(self._known) >= self._size:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = message, found
        return found


def length(message: BaseMessage) -> int:
    """Characters of its text."""
    return len(message.content) if isinstance(message.content, str) else len(message.text)
