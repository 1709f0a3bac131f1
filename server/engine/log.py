"""The log of one run in memory, for the process that executes it: readers tail it, a flusher stores it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container, Iterable, Mapping
from typing import Any

from domain.ids import RunId
from domain.runs import Event, RunStatus
from server.render.serialize import jsonable, only

HEARTBEAT_SECONDS = 15.0
PUBLIC = frozenset({"messages", "citations"})
"""The state keys that leave the process."""
SUPERSEDED = "superseded"
"""The stored method of a state snapshot that a later one replaced: its seq stays, its content isn't kept."""


class RunLog:
    """Events of one run, in order, `seq` from `first_seq` without a gap. Unbounded: a run is bounded by its deadline."""

    def __init__(self, run_id: RunId, first_seq: int) -> None:
        self.run_id = run_id
        self.first_seq = first_seq
        self.events: list[Event] = []
        self._stored = 0
        self._waiting: dict[asyncio.Future[bool], Container[str] | None] = {}
        """Each reader that waits, and the methods it waits for."""

    @property
    def next_seq(self) -> int:
        return self.first_seq + len(self.events)

    def append(self, method: str, ns: tuple[str, ...], data: Any, *, terminal: bool = False) -> Event:
        """Add an event and wake the readers it is for."""
        event = Event(self.next_seq, self.run_id, method, ns, data, terminal)
        self.events.append(event)
        for waiter, methods in self._waiting.items():
            if methods is None or method in methods or terminal:
                _wake(waiter, True)
        return event

    def close(self, status: RunStatus = "running") -> None:
        """Let the readers go. Where the run isn't over it goes on elsewhere, at once or (`pending`) later; this end is no event
        of it, and is never stored."""
        if not self.events or not self.events[-1].terminal:
            self.append("end", (), {"status": status}, terminal=True)

    async def tail(self, after_seq: int, methods: Container[str] | None = None) -> AsyncIterator[Event | None]:
        """Events with seq > `after_seq` as they come, of these methods, None after 15 s of silence; ends after the terminal one."""
        position = max(0, after_seq + 1 - self.first_seq)
        while True:
            while position < len(self.events):
                event = self.events[position]
                position += 1
                if methods is None or event.method in methods or event.terminal:
                    yield event
                if event.terminal:
                    return
            if not await self._news(methods):
                yield None

    async def _news(self, methods: Container[str] | None) -> bool:
        """Wait for an event of these methods; whether one came before 15 s were over."""
        loop = asyncio.get_running_loop()
        came: asyncio.Future[bool] = loop.create_future()
        self._waiting[came] = methods
        silence = loop.call_later(HEARTBEAT_SECONDS, _wake, came, False)
        try:
            return await came
        finally:
            silence.cancel()
            del self._waiting[came]

    def unstored(self) -> list[Event]:
        """What `mark_stored` has not covered yet."""
        return self.events[self._stored :]

    def mark_stored(self, count: int) -> None:
        self._stored += count


def _wake(waiter: asyncio.Future[bool], news: bool) -> None:
    if not waiter.done():
        waiter.set_result(news)


def public_update(data: Any) -> Any:
    """A node's update as it leaves the process: the shown keys only."""
    if not isinstance(data, Mapping):
        return data
    return {
        node: update if node.startswith("__") else only(update, PUBLIC) if isinstance(update, Mapping) else None
        for node, update in data.items()
    }


def encode(events: Iterable[Event], *, final: bool) -> list[tuple[int, dict[str, Any]]]:
    """Events as they are stored, (seq, {method, ns, data}). Consecutive message chunks keep only what changed.

    State snapshots are not stored: the checkpoint is. With `final` the last one of the root graph remains as a mark, which the
    reader fills from the run's last checkpoint.
    """
    listed = list(events)
    last = max((e.seq for e in listed if e.method == "values" and not e.ns), default=0) if final else 0
    stored: list[tuple[int, dict[str, Any]]] = []
    before: tuple[tuple[str, ...], dict[str, Any], Any] | None = None
    for event in listed:
        if event.method == "values":
            method = "values" if event.seq == last else SUPERSEDED
            stored.append((event.seq, {"method": method, "ns": list(event.ns), "data": None}))
            continue
        if event.method != "messages":
            before = None
            stored.append((event.seq, {"method": event.method, "ns": list(event.ns), "data": jsonable(event.data)}))
            continue
        message, metadata = event.data
        dumped = jsonable(message)
        if before is not None and before[0] == event.ns and before[2] is metadata and before[1].keys() == dumped.keys():
            changed = {key: value for key, value in dumped.items() if before[1][key] != value}
            stored.append((event.seq, {"method": "messages", "delta": changed}))
        else:
            stored.append(
                (event.seq, {"method": "messages", "ns": list(event.ns), "data": [dumped, jsonable(metadata)]})
            )
        before = (event.ns, dumped, metadata)
    return stored


def decode(run_id: RunId, seq_first: int, stored: list[dict[str, Any]], *, terminal: bool) -> list[Event]:
    """The events of one flush."""
    events: list[Event] = []
    message: dict[str, Any] = {}
    metadata: Any = None
    ns: tuple[str, ...] = ()
    for seq, entry in enumerate(stored, seq_first):
        ends = terminal and seq == seq_first + len(stored) - 1
        if "delta" in entry:
            message = {**message, **entry["delta"]}
            events.append(Event(seq, run_id, "messages", ns, [message, metadata]))
            continue
        ns = tuple(entry["ns"])
        if entry["method"] == "messages":
            message, metadata = entry["data"]
        events.append(Event(seq, run_id, entry["method"], ns, entry["data"], ends))
    return events
