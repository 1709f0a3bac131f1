"""Tool calls that wait for a person, and what that person decides, in the form of LangChain's human-in-the-loop middleware."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict, get_args

from domain.ids import RunId, ThreadId, UserId

DecisionType = Literal["approve", "edit", "reject"]
DECISION_TYPES: tuple[DecisionType, ...] = get_args(DecisionType)


class ActionRequest(TypedDict):
    """A call that waits. `args` are normalised and fit the tool's schema; `title` is what people call the tool, None where nobody
    has said."""

    name: str
    title: str | None
    args: dict[str, Any]
    description: str
    tool_call_id: str


class ReviewConfig(TypedDict):
    """What may be decided about the calls of one tool; `args_schema` is the JSON Schema of its arguments."""

    action_name: str
    allowed_decisions: list[DecisionType]
    args_schema: dict[str, Any]


class ApprovalRequest(TypedDict):
    """The value of an interrupt: all calls of one step of one agent that wait. `thread_id` is the conversation they are made in."""

    action_requests: list[ActionRequest]
    review_configs: list[ReviewConfig]
    agent: str
    thread_id: str


class Decision(TypedDict):
    """What was decided about one call: `args` are those to call with instead (edit), `message` why not (reject)."""

    type: DecisionType
    tool_call_id: str
    args: NotRequired[dict[str, Any]]
    message: NotRequired[str]


class DecidedAction(TypedDict):
    """A call with what was decided about it, as it is kept."""

    tool_call_id: str
    name: str
    args: dict[str, Any]
    decision: DecisionType
    edited_args: dict[str, Any] | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody decides about an interrupt. `conversation_id` is the thread of the calls: the run's own or a child's."""

    interrupt_id: str
    conversation_id: ThreadId
    agent: str
    actions: list[DecidedAction]


@dataclass(frozen=True, slots=True)
class Approval:
    """An answer as it was given: by whom, when, and the run that went on with it."""

    interrupt_id: str
    thread_id: ThreadId
    conversation_id: ThreadId
    run_id: RunId
    agent: str
    decided_by: UserId
    decided_at: datetime
    actions: list[DecidedAction]
