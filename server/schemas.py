"""Request bodies of the LangGraph API. Fields we know of but don't serve are refused by name, unknown ones are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from domain.runs import DisconnectMode, MultitaskStrategy, ThreadStatus
from storage.threads import IfExists, SortOrder, ThreadSort

Metadata = dict[str, Any]
Limit = Annotated[int, Field(ge=1, le=1000)]
Offset = Annotated[int, Field(ge=0, le=1_000_000)]
NodeNames = list[str] | Literal["*"]
ThreadField = Literal[
    "thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "config", "status", "values", "interrupts"
]
AssistantField = Literal[
    "assistant_id",
    "graph_id",
    "name",
    "description",
    "config",
    "context",
    "created_at",
    "updated_at",
    "metadata",
    "version",
]


class Body(BaseModel):
    """A body that ignores what it doesn't know, as the LangGraph server does."""

    model_config = ConfigDict(extra="ignore")


class AssistantSearch(Body):
    graph_id: str | None = None
    name: str | None = None
    metadata: Metadata | None = None
    limit: Limit = 10
    offset: Offset = 0
    sort_by: Literal["assistant_id", "graph_id", "name", "created_at", "updated_at"] | None = None
    sort_order: SortOrder | None = None
    select: list[AssistantField] | None = None


class ThreadCreate(Body):
    thread_id: UUID | None = None
    metadata: Metadata | None = None
    if_exists: IfExists | None = None
    supersteps: None = None
    """Not served."""
    ttl: None = None
    """Not served."""


class ThreadPatch(Body):
    metadata: Metadata
    ttl: None = None
    """Not served."""


class ThreadSearch(Body):
    metadata: Metadata | None = None
    status: ThreadStatus | None = None
    ids: list[UUID] | None = None
    parent_thread_id: UUID | None = None
    """Ours: the child conversations of this thread instead of the top-level ones."""
    values: None = None
    """Not served: filter by metadata."""
    extract: None = None
    """Not served: use select."""
    limit: Limit = 10
    offset: Offset = 0
    sort_by: ThreadSort | Literal["state_updated_at"] | None = None
    sort_order: SortOrder | None = None
    select: list[ThreadField] | None = None


class ThreadCount(Body):
    metadata: Metadata | None = None
    status: ThreadStatus | None = None
    values: None = None
    """Not served: filter by metadata."""


class CheckpointRef(Body):
    """A checkpoint of the thread in the path; its own `thread_id`, where sent, is not looked at."""

    checkpoint_id: str | None = None
    checkpoint_ns: str | None = None


class StateAt(Body):
    checkpoint: CheckpointRef
    subgraphs: bool = False


class StateUpdate(Body):
    values: dict[str, Any] | list[dict[str, Any]] | None = None
    as_node: str | None = None
    checkpoint_id: str | None = None
    checkpoint: CheckpointRef | None = None


class StateHistory(Body):
    limit: Limit = 10
    before: CheckpointRef | str | None = None
    metadata: Metadata | None = None
    checkpoint: CheckpointRef | None = None


class RunConfig(Body):
    configurable: dict[str, Any] = {}
    tags: list[str] = []
    recursion_limit: Annotated[int, Field(ge=1, le=1000)] | None = None
    metadata: Metadata = {}


class RunCommand(Body):
    """How to go on with an interrupted thread: `resume` answers the interrupt, `update` changes the state, `goto` moves on."""

    resume: Any = None
    update: dict[str, Any] | None = None
    goto: str | list[str] | None = None


class RunCreate(Body):
    """A run. Exactly one of `input` and `command`; neither goes on from the thread's state."""

    assistant_id: str
    input: dict[str, Any] | None = None
    command: RunCommand | None = None
    config: RunConfig | None = None
    context: dict[str, Any] | None = None
    metadata: Metadata | None = None
    stream_mode: str | list[str] | None = None
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    """Always so here."""
    on_disconnect: DisconnectMode | None = None
    on_completion: Literal["delete", "keep"] | None = None
    multitask_strategy: MultitaskStrategy | None = None
    if_not_exists: Literal["create", "reject"] | None = None
    interrupt_before: NodeNames | None = None
    interrupt_after: NodeNames | None = None
    checkpoint: CheckpointRef | None = None
    checkpoint_id: str | None = None
    durability: Literal["sync", "async", "exit"] | None = None
    webhook: None = None
    """Not served."""
    after_seconds: Literal[0] | None = None
    """Not served."""


class RunsCancel(Body):
    thread_id: UUID
    run_ids: Annotated[list[UUID], Field(min_length=1, max_length=100)]
