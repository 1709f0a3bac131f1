"""How models are to be chosen: what a request, a user, a skill or an organisation may say about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ReasoningEffort = Literal["none", "low", "medium", "high"]


class ModelPolicy(BaseModel):
    """One party's wishes. None and False leave the matter to the next party; `local_only` can't be lifted by anybody."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str | None = Field(None, max_length=300)
    model: str | None = Field(None, max_length=300)
    """A model's name or alias, or "provider/model"."""
    force_cloud: bool = False
    """Cloud models first; a local one only where no cloud model can answer."""
    prefer_local: bool = False
    """Local models first."""
    local_only: bool = False
    """Never a cloud model."""
    max_latency_ms: int | None = Field(None, ge=1, le=3_600_000)
    """A local model is used only where its measured latency keeps to this."""
    reasoning_effort: ReasoningEffort | None = None

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> ModelPolicy:
        """The wishes among other things that were asked for; null counts as not said. Raises pydantic's ValidationError."""
        return cls.model_validate({name: asked[name] for name in cls.model_fields if asked.get(name) is not None})


def contradiction(policy: ModelPolicy) -> tuple[str, str] | None:
    """What in one party's policy excludes itself: the field to change and why; None where nothing does.

    Which rule wins between parties: local_only over everything, as it protects data; of the other wishes the one of whoever comes
    first (request, user, skill, organisation).
    """
    if policy.force_cloud and policy.local_only:
        return "force_cloud", (
            "contradicts local_only. local_only protects data and wins over every wish, at every level; leave one of them out"
        )
    if policy.force_cloud and policy.prefer_local:
        return "force_cloud", "contradicts prefer_local; within one policy neither wins, leave one of them out"
    return None
