"""The messages of a conversation, and how what is written is put among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import AnyMessage, RemoveMessage
from langchain_core.messages.utils import convert_to_messages


class Conversation(list[AnyMessage]):
    """Messages that know where each id is.

    A turn puts four messages among a thousand, and LangGraph's own reducer looks at every one of them each time. Whoever changes
    the list other than by these methods makes the places wrong: to nodes it is a list to read.
    """

    __slots__ = ("_places",)

    def __init__(self, messages: Iterable[AnyMessage] = ()) -> None:
        super().__init__(messages)
        self._places: dict[str, int] = messages._places if isinstance(messages, Conversation) else _places(self)
        """Where an id is, if it is there. Copies share it, and it may tell of what was put into another one."""

    def __copy__(self) -> Conversation:
        return Conversation(self)

    def put(self, message: AnyMessage) -> None:
        """In the place of the message with its id, or at the end."""
        place = self._place(message.id)
        if place is not None:
            self[place] = message
            return
        if message.id is not None:
            self._places[message.id] = len(self)
        self.append(message)

    def take(self, message_id: str) -> None:
        """The message with this id is no more; nothing where there is none."""
        place = self._place(message_id)
        if place is not None:
            del self[place]
            self._places = _places(self)

    def _place(self, message_id: str | None) -> int | None:
        place = self._places.get(message_id) if message_id is not None else None
        if place is None or (place < len(self) and self[place].id == message_id):
            return place
        self._places = _places(self)  # it was put into a copy, at another place or only there
        return self._places.get(message_id) if message_id is not None else None


def _places(messages: Sequence[AnyMessage]) -> dict[str, int]:
    return {message.id: place for place, message in enumerate(messages) if message.id is not None}


def reduce_messages(messages: list[AnyMessage], writes: Sequence[Any]) -> Conversation:
    """The reducer of messages: `langgraph.graph.message._messages_delta_reducer`, without its look at every message.

    A write is a message or something like one, or a list of such; a RemoveMessage takes the one with its id away. It is
    batching-invariant, as a DeltaChannel needs it: `reduce(reduce(state, a), b) == reduce(state, a + b)`.
    """
    known = isinstance(messages, Conversation)
    conversation = Conversation(messages if known else convert_to_messages(messages))  # type: ignore[arg-type]
    for write in writes:
        for message in convert_to_messages(write if isinstance(write, list) else [write]):
            if isinstance(message, RemoveMessage):
                conversation.take(message.id or "")
            else:
                conversation.put(message)  # type: ignore[arg-type]
    return conversation
