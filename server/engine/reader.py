"""Following a run: from the memory of this process where it executes it, else from the stored log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container, Mapping
from typing import Any

from domain.ids import OrganizationId, RunId
from domain.runs import Event, Run
from server.engine.executor import Execution, run_config
from server.engine.log import HEARTBEAT_SECONDS, PUBLIC, decode
from server.render.serialize import only
from storage.events import Events
from storage.saver import TenantSaver, acting_for

FOLLOW_SECONDS = 0.25
"""How often a run that another replica executes is read from the log."""


class Reader:
    """The events and values of runs. `live` are those this process executes, as they come and go."""

    def __init__(self, live: Mapping[RunId, Execution], events: Events, saver: TenantSaver, graphs: Any) -> None:
        self._live = live
        self._events = events
        self._saver = saver
        self._graphs = graphs

    async def tail(
        self, organization_id: OrganizationId, run: Run, after: int, methods: Container[str] | None
    ) -> AsyncIterator[Event | None]:
        """See `RunEngine.tail`."""
        silent = 0.0
        while True:
            held = self._live.get(run.run_id)
            if held is not None and held.run.organization_id == organization_id:
                if held.claim.attempt > 1 and after + 1 < held.log.first_seq:
                    for earlier in await self._stored(organization_id, run, after):
                        if earlier.seq < held.log.first_seq:
                            after = earlier.seq
                            yield earlier
                # what lies between are other runs of the thread: the log has all that follows of this one
                after = max(after, held.log.first_seq - 1)
                async for event in held.log.tail(after, methods):
                    if event is not None and event.terminal and event.data.get("status") == "pending":
                        break  # it waits for tokens, and goes on later, here or elsewhere
                    after = after if event is None else event.seq
                    yield event
                else:
                    return
                continue
            events = await self._stored(organization_id, run, after)
            for event in events:
                after, silent = event.seq, 0.0
                yield event
                if event.terminal:
                    return
            if held is None and not events:
                silent += FOLLOW_SECONDS
                if silent >= HEARTBEAT_SECONDS:
                    silent = 0.0
                    yield None
                await asyncio.sleep(FOLLOW_SECONDS)

    async def values(self, organization_id: OrganizationId, run: Run) -> dict[str, Any]:
        """The state the run's thread has now."""
        with acting_for(organization_id):
            return await self._state(run, None)

    async def _stored(self, organization_id: OrganizationId, run: Run, after: int) -> list[Event]:
        flushes = await self._events.after(organization_id, run.run_id, after)
        events = [
            event
            for flush in flushes
            for event in decode(run.run_id, flush.seq_first, flush.events, terminal=flush.terminal)
            if event.seq > after
        ]
        return [
            Event(e.seq, e.run_id, e.method, e.ns, await self._values_of(organization_id, run), e.terminal)
            if e.method == "values"
            else e
            for e in events
        ]

    async def _values_of(self, organization_id: OrganizationId, run: Run) -> dict[str, Any]:
        """The state in which a run left its thread, from its last checkpoint; from the thread's where it made none."""
        config = run_config(run)
        with acting_for(organization_id):
            async for saved in self._saver.alist(
                {"configurable": {"thread_id": config["configurable"]["thread_id"], "checkpoint_ns": ""}},
                filter={"run_id": run.run_id},
                limit=1,
            ):
                return await self._state(run, saved.config["configurable"]["checkpoint_id"])
            return await self._state(run, None)

    async def _state(self, run: Run, checkpoint_id: str | None) -> dict[str, Any]:
        configurable = dict(run_config(run)["configurable"])
        configurable.pop("checkpoint_id", None)
        if checkpoint_id is not None:
            configurable["checkpoint_id"] = checkpoint_id
        snapshot = await self._graphs[run.graph_id].aget_state({"configurable": configurable})
        return only(snapshot.values, PUBLIC)
