"""An agent is data: a skill."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.policy import ModelPolicy

Orchestration = Literal["graph", "direct"]
RunMode = Literal["chat", "answer", "json"]
_ToolPattern = Annotated[str, Field(min_length=1, max_length=100)]
Approvals = Literal["none", "side_effects"] | Annotated[tuple[_ToolPattern, ...], Field(max_length=100)]
"""Which tool calls wait until a person approves them: none, those of tools that change something, or those of the tools named;
a name may be a pattern (`*`, `?`)."""


class RetrievalPolicy(BaseModel):
    """How much of the organisation's knowledge enters the context before the model is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    passages: int = Field(6, ge=0, le=50)
    notes: int = Field(20, ge=0, le=500)


class Skill(BaseModel):
    """One agent: name, when to hand over to it, how it works, what it may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{1,62}$")
    title: dict[str, str]
    """What people call it, by language."""
    description: str
    """When to hand over to it: the supervisor's model reads this."""
    prompt: str
    """The prompt's text (in YAML: the file's name under graphs/prompts)."""
    tools: tuple[str, ...] = ()
    mcp_servers: tuple[str, ...] = ()
    """Names of the MCP servers whose tools it may use, beside those that are open to every agent."""
    approvals: Approvals = "none"
    retrieval: RetrievalPolicy = RetrievalPolicy()
    model: ModelPolicy = ModelPolicy()

    def needs_approval(self, tool: str, *, side_effect: bool) -> bool:
        """Whether a call of this tool waits for a person."""
        match self.approvals:
            case "none":
                return False
            case "side_effects":
                return side_effect
            case patterns:
                return any(fnmatchcase(tool, pattern) for pattern in patterns)


class Limits(BaseModel):
    """Bounds of a turn; passing one ends it with an honest answer and its `stop_reason`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_tool_steps: int = Field(12, ge=1, le=100)
    max_tool_errors: int = Field(3, ge=1, le=50)
    """Consecutive failed tool calls."""
    max_tool_result_chars: int = Field(20_000, ge=200, le=1_000_000)
    max_delegations: int = Field(4, ge=0, le=20)
    max_depth: int = Field(1, ge=0, le=3)
    turn_seconds: int = Field(300, ge=1, le=3600)
    max_prompt_tokens: int = Field(24_000, ge=1_000, le=2_000_000)
    """Of one model call, tools included; less where the model's context is smaller. What is over is trimmed in a stated order."""
