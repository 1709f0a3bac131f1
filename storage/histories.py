"""What this process has read of delta channels lately.

A DeltaChannel's value at a checkpoint is made of what was written at its ancestors, back to the last of them that holds the whole
value. Ancestors never change: a branch that leaves them begins with a whole value of its own. So of a conversation only what was
added since this process last read it has to be read again, whoever added it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import DeltaChannelHistory, PendingWrite
from langgraph.checkpoint.serde.types import _DeltaSnapshot

Reducer = Callable[[Any, Sequence[Any]], Any]
"""Of a list and the writes to it; gives another list."""
KEPT_BYTES = 16 * 2**20
"""Of values as they are stored, of all conversations together. Messages take some five times that in memory."""


class Place(NamedTuple):
    """A channel of a conversation, or of a child's in its namespace."""

    thread_id: str
    checkpoint_ns: str
    channel: str


@dataclass(frozen=True, slots=True)
class History:
    """A channel at a checkpoint: what was written since the whole value of an ancestor, oldest first."""

    checkpoint_id: str
    writes: Sequence[PendingWrite]
    seed: Any = None
    """None where the channel has begun empty."""
    stored_bytes: int = 0

    def as_langgraph(self) -> DeltaChannelHistory:
        """With a list of its own: who reads it may go on with it, but must not change the messages."""
        writes = list(self.writes)
        if self.seed is None:
            return {"writes": writes}
        seed = _DeltaSnapshot(copy(self.seed.value)) if isinstance(self.seed, _DeltaSnapshot) else copy(self.seed)
        return {"seed": seed, "writes": writes}

    def reduced(self, reducer: Reducer) -> History:
        """The same with its writes made part of the whole value."""
        channel: DeltaChannel[Any] = DeltaChannel(reducer, list)
        channel.value = []
        if self.seed is not None:
            channel = channel.from_checkpoint(self.seed)
        channel.replay_writes(self.writes)
        return replace(self, writes=(), seed=_DeltaSnapshot(channel.value))


class Histories:
    """The newest known history of each place; those that weren't asked for longest go first."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._bytes = 0
        self._known: OrderedDict[Place, History] = OrderedDict()

    def get(self, place: Place) -> History | None:
        """The newest known."""
        known = self._known.get(place)
        if known is not None:
            self._known.move_to_end(place)
        return known

    def keep(self, place: Place, history: History) -> None:
        """Keep it, unless a newer one of the place is known or it is too long."""
        known = self._known.get(place)
        if known is not None and known.checkpoint_id >= history.checkpoint_id:
            return
        self.forget(place)
        if history.stored_bytes > self._kept_bytes:
            return
        self._known[place] = history
        self._bytes += history.stored_bytes
        while self._bytes > self._kept_bytes:
            self.forget(next(iter(self._known)))

    def forget(self, place: Place) -> None:
        """What is known of it, if anything."""
        known = self._known.pop(place, None)
        self._bytes -= known.stored_bytes if known else 0

    def __len__(self) -> int:
        return len(self._known)
