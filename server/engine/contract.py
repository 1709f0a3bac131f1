"""What the surfaces ask of the run engine, and what a run executes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from domain.approvals import Answer
from domain.identity import Identity
from domain.ids import AssistantId, OrganizationId, RunId, ThreadId, TraceId
from domain.runs import DisconnectMode, Event, MultitaskStrategy, Run, RunStatus


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a run executes; stored as `runs.kwargs`, so every field is JSON.

    `input` is the graph's input with its messages in canonical form (`type`, `content`, `id`), or None to go on from the
    thread's state. `config` holds `configurable`, `tags` and `recursion_limit` where the client gave them. `stream_mode` and
    `stream_subgraphs` are what a client that joins without saying gets; the run itself always logs everything.
    """

    assistant_id: AssistantId
    graph_id: str
    agent: str
    """The skill it works by."""
    input: dict[str, Any] | None
    command: dict[str, Any] | None
    config: dict[str, Any]
    context: dict[str, Any]
    metadata: dict[str, Any]
    multitask_strategy: MultitaskStrategy = "enqueue"
    on_disconnect: DisconnectMode = "continue"
    interrupt_before: list[str] | Literal["*"] | None = None
    interrupt_after: list[str] | Literal["*"] | None = None
    checkpoint_id: str | None = None
    after_seconds: None = None
    durability: str | None = None
    webhook: None = None
    stream_mode: list[str] | None = None
    stream_subgraphs: bool = False
    trial: dict[str, Any] | None = None
    """A skill to be tried: it stands in for the one of its name, and no tool changes anything."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """How a run goes on at interrupts: `resume` by their ids, as the graph takes it, and what of that are people's decisions."""

    resume: dict[str, Any]
    answers: tuple[Answer, ...]


class RunEngine(Protocol):
    """Accepts, follows and ends runs. Every method works for one organisation; a foreign id answers as a missing one."""

    async def submit(
        self,
        identity: Identity,
        thread_id: ThreadId,
        request: RunRequest,
        *,
        idempotency_key: str | None,
        trace_id: TraceId,
        create_thread: bool = False,
        thread_metadata: dict[str, Any] | None = None,
        own_thread: bool = False,
        ephemeral: bool = False,
        resumption: Resumption | None = None,
    ) -> Run:
        """Accept a run. With `own_thread` the thread is made for it; with `ephemeral` it goes away when the run is over. With
        `resumption` it goes on at interrupts, in place of what the request's command says.

        Raises NotFound for a missing thread (unless `create_thread`), Conflict where the thread is busy and the strategy is
        `reject`, where the idempotency key came with another body before, or where an interrupt is answered already.
        """
        ...

    async def repeated(
        self, identity: Identity, thread_id: ThreadId, request: RunRequest, *, idempotency_key: str, trace_id: TraceId
    ) -> Run | None:
        """The run that the same request with this key made before; None where there is none. Raises Conflict as `submit`."""
        ...

    def tail(
        self, organization_id: OrganizationId, run: Run, *, after_seq: int | None, methods: Container[str] | None = None
    ) -> AsyncIterator[Event | None]:
        """The run's events in order, those with seq <= `after_seq` left out; ends after the terminal one.

        With `methods` others may be left out, too: whoever follows a run in this process isn't woken for them.
        None comes about every 15 s while nothing happens.
        """
        ...

    async def cancel(self, organization_id: OrganizationId, run: Run, *, wait: bool) -> None:
        """Ask the run to end; with `wait` return once it has. No effect on a run that is over."""
        ...

    async def get_run(self, organization_id: OrganizationId, thread_id: ThreadId, run_id: RunId) -> Run:
        """Raises NotFound."""
        ...

    async def list_runs(
        self,
        organization_id: OrganizationId,
        thread_id: ThreadId,
        *,
        limit: int,
        offset: int,
        status: RunStatus | None = None,
    ) -> list[Run]:
        """A thread's runs, newest first."""
        ...

    async def delete_run(self, organization_id: OrganizationId, thread_id: ThreadId, run_id: RunId) -> None:
        """Forget a run that is over. Raises NotFound, or Conflict where it isn't over."""
        ...

    async def values(self, organization_id: OrganizationId, run: Run) -> dict[str, Any]:
        """The state values of the run's thread, as they are now."""
        ...
