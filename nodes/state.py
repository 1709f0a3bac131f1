"""The state of a conversation. It lives here, below graphs/, because every node speaks it.

Only `messages` and `citations` are shown to clients; the rest belongs to the turn in progress. Values are plain JSON types and
langchain-core messages, so that strict deserialisation has nothing else to revive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.channels.untracked_value import UntrackedValue
from typing_extensions import TypedDict  # pydantic refuses typing.TypedDict on Python 3.11

from domain.runs import ChildStatus, StopReason
from nodes.conversation import reduce_messages

Messages = Annotated[list[AnyMessage], DeltaChannel(reduce_messages, list, snapshot_frequency=200)]
"""The one place that names the reducer of messages: DeltaChannel is beta, and it must stay batching-invariant. A whole value every
66 plain turns, as it costs as much as the conversation is long; a process that doesn't know the conversation reads what came after
it in one statement."""


class Turn(TypedDict):
    """Counters and choices of the turn in progress."""

    language: str
    """Of the asker: 'ru' or 'en'."""
    deadline: float
    """Seconds since the epoch."""
    tool_steps: int
    tool_errors: int
    """Consecutive."""
    delegations: int
    notes: list[str]
    stop_reason: StopReason | None
    agents: list[str]
    """Who took part, in order."""
    stripped: int
    """Citation markers that never reached the reader."""


class Delegation(TypedDict):
    """The task of a specialist: the payload of its Send, and in its own state who it works for."""

    child_thread_id: str
    tool_call_id: str
    agent: str
    task: str
    context: str
    direct: bool
    """Whether this is the user speaking to an active child, not the supervisor's tool call."""
    alone: bool
    """Whether it is the step's only delegation: only then the child may turn to the user."""
    checkpoint_ns: str | None
    """Where the child's earlier turn lies; None for a new child."""
    deadline: float
    """The parent's turn's, which the child shares; seconds since the epoch."""
    local_only: bool
    """Whether the parent holds what must not leave the premises."""


class Finish(TypedDict):
    """What finish_subagent was called with."""

    summary: str
    citations: list[int]


class ChildResult(TypedDict):
    """What came of a delegation. Source numbers in `text` and `citations` are the child's own; `sources` are those it cites."""

    child_thread_id: str
    tool_call_id: str
    agent: str
    status: ChildStatus
    text: str
    citations: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    error: dict[str, Any] | None
    stop_reason: str | None
    direct: bool
    task: str
    checkpoint_ns: str
    local_only: bool
    """Whether the child holds what must not leave the premises."""


def collect(results: list[ChildResult], new: list[ChildResult] | None) -> list[ChildResult]:
    """Append; None empties."""
    return [] if new is None else [*results, *new]


class Summary(TypedDict):
    """What stands for the older part of a conversation in its prompts."""

    text: str
    messages: int
    """How many messages of the conversation it stands for, from the first on."""
    until: str
    """The id of the last of them."""
    by: Literal["model", "extract"]
    """`extract`: questions and the beginnings of their answers, word for word; no model was asked, or none answered."""


class ActiveChild(TypedDict):
    """The child the user's next message goes to."""

    child_thread_id: str
    tool_call_id: str
    agent: str
    checkpoint_ns: str


class Input(TypedDict):
    """What a run is started with."""

    messages: Messages


class ChildInput(Input):
    """What a specialist is called with by the supervisor."""

    delegation: Delegation
    summary: Summary | None
    """A continued child's own; never its parent's."""


class Output(TypedDict):
    """What clients see."""

    messages: Messages
    citations: list[dict[str, Any]]


def changed(state: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """Those of `values` that the state doesn't hold already: what a node returns is written, whether it is news or not."""
    return {name: value for name, value in values.items() if name not in state or state[name] != value}


class Routing(TypedDict):
    """What the choice of models depends on. A node gets no more than it asks for: LangGraph looks at each message it gets."""

    delegation: Delegation | None
    local_only: bool


class State(TypedDict):
    """Everything, of the supervisor and of a specialist alike."""

    messages: Messages
    citations: list[dict[str, Any]]
    turn: Turn
    route: Annotated[dict[str, Any], UntrackedValue]
    """`providers.route.Route` as JSON: the models of the next call, in order, with all reasons. In no checkpoint: a turn that is
    taken up again chooses anew, by what is known then."""
    sources: list[dict[str, Any]]
    delegation: Delegation | None
    finish: Finish | None
    draft: AIMessage | None
    """In the mode `json`: an answer that isn't known to be JSON yet, and so no message yet."""
    decisions: dict[str, dict[str, Any]]
    """What a person decided about calls of the step in progress (`domain.approvals.Decision`), by their ids."""
    children: Annotated[list[ChildResult], collect]
    active_child: ActiveChild | None
    summary: Summary | None
    local_only: bool
    """Whether the conversation holds what must not leave the premises. Never taken back: its messages keep what was read."""


@dataclass(init=False, repr=False, eq=False)
class View(Mapping[str, Any]):
    """The state for nodes that give no message again but the latest.

    LangGraph looks at each message in the fields of what a node gets, so as not to stream it once more; of a dict that would be the
    whole conversation, which costs more than the node.
    """

    latest: Sequence[AnyMessage]

    def __init__(self, **values: Any) -> None:
        self._values = values
        self.latest = values.get("messages", ())[-1:]

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)


View.__annotations__ = State.__annotations__  # what LangGraph gives it
