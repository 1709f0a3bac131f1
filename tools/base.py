"""What a tool is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from domain.ids import EffectId, OrganizationId, RunId, ThreadId, UserId
from domain.knowledge import Passage


@dataclass(frozen=True, slots=True)
class ToolContext:
    """On whose behalf a tool is called, and from where. `run_id` is None in LangGraph Studio, which keeps no run of ours."""

    organization_id: OrganizationId
    user_id: UserId
    run_id: RunId | None
    thread_id: ThreadId
    agent: str
    local_only: bool = False
    """Whether the conversation holds what must not leave the premises."""
    effect_id: EffectId | None = None
    """Of a call that changes something: the idempotency key to pass on. The same where the call is carried out again."""


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a tool found. `passages` become numbered sources of the turn, appended to `content` as the model reads it."""

    content: str
    passages: list[Passage] = field(default_factory=list)


class Tool(Protocol):
    """A tool. `parameters` is a JSON Schema of type object; `description` is what the model reads."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def parameters(self) -> dict[str, Any]: ...
    @property
    def side_effect(self) -> bool:
        """Whether a call changes anything anywhere."""
        ...

    @property
    def outside(self) -> bool:
        """Whether a call acts in another program, where nothing here can undo it."""
        ...

    @property
    def idempotent(self) -> bool:
        """Whether a call that may have been carried out can be repeated without harm."""
        ...

    def unavailable(self) -> str | None:
        """Why it can't be used at all here (a missing key ...), naming the fix; None where it can."""
        ...

    async def call(self, context: ToolContext, arguments: dict[str, Any]) -> ToolOutput:
        """Execute with validated arguments. Raises ToolError (or another ConsiliumError) with a message the model can act on."""
        ...
