"""An agent is data: a skill."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.policy import ModelPolicy

Orchestration = Literal["graph", "direct"]
RunMode = Literal["chat", "answer", "json"]


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
    retrieval: RetrievalPolicy = RetrievalPolicy()
    model: ModelPolicy = ModelPolicy()


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
