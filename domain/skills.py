"""An agent is data: a skill. An organisation has the operator's skills, changed and added to by its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.policy import ModelPolicy

MAIN = "main"
"""The supervisor's skill."""
SKILL_NAME = r"^[a-z][a-z0-9_]{1,62}$"
MAX_SKILLS = 50
"""That an organisation may change or add."""
MAX_DESCRIPTIONS = 30_000
"""Characters of the descriptions of all specialists together: the supervisor's model reads all of them at every call."""
Orchestration = Literal["graph", "direct"]
RunMode = Literal["chat", "answer", "json"]
_ToolPattern = Annotated[str, Field(min_length=1, max_length=100)]
Approvals = (
    Literal["none", "side_effects", "outside_effects"] | Annotated[tuple[_ToolPattern, ...], Field(max_length=100)]
)
"""Which tool calls wait until a person approves them: none, those of tools that change something, those that change something outside
this service, or those of the tools named; a name may be a pattern (`*`, `?`)."""


Language = Literal["en", "ru"]
Title = Annotated[str, Field(min_length=1, max_length=100)]
SkillSource = Literal["operator", "override", "organization"]
"""Whose a skill is: the operator's as it is, the operator's as the organisation changed it, or the organisation's own."""


class RetrievalPolicy(BaseModel):
    """How much of the organisation's knowledge enters the context before the model is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    passages: int = Field(6, ge=0, le=50)
    notes: int = Field(20, ge=0, le=500)


class SkillDefinition(BaseModel):
    """What an agent is: when to hand over to it, how it works, what it may use."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)
    title: dict[Language, Title] = Field(min_length=2)
    """What people call it, in each language."""
    description: str = Field(min_length=1, max_length=2_000)
    """When to hand over to it: the supervisor's model reads this."""
    prompt: str = Field(min_length=1, max_length=50_000)
    """The prompt's text (in YAML: the file's name under graphs/prompts)."""
    tools: tuple[str, ...] = Field((), max_length=100)
    mcp_servers: tuple[str, ...] = Field((), max_length=50)
    """Names of the MCP servers whose tools it may use, beside those that are open to every agent."""
    approvals: Approvals = "none"
    retrieval: RetrievalPolicy = RetrievalPolicy()
    model: ModelPolicy = ModelPolicy()

    def needs_approval(self, tool: str, *, side_effect: bool, outside: bool) -> bool:
        """Whether a call of this tool waits for a person. `outside`: the tool acts in another program."""
        match self.approvals:
            case "none":
                return False
            case "side_effects":
                return side_effect
            case "outside_effects":
                return side_effect and outside
            case patterns:
                return any(fnmatchcase(tool, pattern) for pattern in patterns)


class Skill(SkillDefinition):
    """One agent by its name."""

    name: str = Field(pattern=SKILL_NAME)


@dataclass(frozen=True, slots=True)
class SkillRecord:
    """A skill as an organisation has it. `version` is in force, 0 the operator's; what it has never changed has no times."""

    skill: Skill
    source: SkillSource
    version: int = 0
    last_version: int = 0
    enabled: bool = True
    comment: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None
    updated_at: datetime | None = None
    updated_by: str | None = None


@dataclass(frozen=True, slots=True)
class SkillSet:
    """An organisation's skills by name: the operator's in their order, then its own. `generation` grows with every change; 0 is
    before the first."""

    generation: int
    records: Mapping[str, SkillRecord]
    in_force: Mapping[str, Skill] = field(init=False)
    """Those that agents work by: the enabled ones."""

    def __post_init__(self) -> None:
        enabled = {name: record.skill for name, record in self.records.items() if record.enabled}
        object.__setattr__(self, "in_force", enabled)


class Limits(BaseModel):
    """Bounds of a turn; passing one ends it with an honest answer and its `stop_reason`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_tool_steps: int = Field(12, ge=1, le=100)
    max_tool_errors: int = Field(3, ge=1, le=50)
    """Consecutive failed tool calls."""
    max_tool_result_chars: int = Field(20_000, ge=200, le=1_000_000)
    max_delegations: int = Field(4, ge=0, le=20)
    max_parallel: int = Field(4, ge=1, le=20)
    """Specialists of one turn that work at the same time; others wait for a place."""
    max_depth: int = Field(1, ge=0, le=3)
    turn_seconds: int = Field(300, ge=1, le=3600)
    max_prompt_tokens: int = Field(24_000, ge=1_000, le=2_000_000)
    """Of one model call, tools included; less where the model's context is smaller. What is over is trimmed in a stated order."""
