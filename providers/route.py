"""What a model is chosen by and what comes of it: the request, what is known of the providers, the ordered candidates with all reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from typing_extensions import TypedDict  # pydantic refuses typing.TypedDict on Python 3.11

from domain.policy import ModelPolicy, ReasoningEffort

Kind = Literal["chat", "embed"]
Reason = Literal["request", "user", "skill", "organization", "default", "default_order", "last_resort", "repair"]
"""Whose choice a candidate is, in order of precedence; `default` is the environment's, `default_order` the catalogue's."""
Wish = Literal["cloud", "local"]
Obstacle = Literal[
    "unknown",
    "unusable",
    "no_chat",
    "no_embeddings",
    "other_vectors",
    "no_tools",
    "no_structured_output",
    "context_too_small",
    "leaves_premises",
    "too_slow",
]
RANK: dict[Reason, int] = {
    "request": 0,
    "user": 1,
    "skill": 2,
    "organization": 3,
    "default": 4,
    "default_order": 5,
    "last_resort": 6,
    "repair": 7,
}
"""In the order of precedence, in which `request_of` asks the parties."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody prefers. `model` alone may be "provider/model", "provider:model", a model's name or alias, or a
    provider."""

    provider: str | None = None
    model: str | None = None

    def __bool__(self) -> bool:
        return bool(self.provider or self.model)


NO_CHOICE = Choice()


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """What the call needs, and what the parties wish. `context_tokens` counts the prompt plus the room for the answer; None where
    not known."""

    explicit: Choice = NO_CHOICE
    user: Choice = NO_CHOICE
    skill: Choice = NO_CHOICE
    organization: Choice = NO_CHOICE
    default: Choice = NO_CHOICE
    """What the environment prefers where no wish decides."""
    wish: Wish | None = None
    """Which models come first."""
    wish_of: Reason = "request"
    """Whose wish it is: it decides over the choices of those who come after."""
    local_only: bool = False
    """By policy: an explicit choice of a cloud model is refused."""
    tainted: bool = False
    """The conversation holds what must not leave the premises: cloud models are left out."""
    max_latency_ms: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    tools: bool = False
    structured_output: bool = False
    json_output: bool = False
    """The answer has to be JSON that fits a schema; a model may be helped to it, quotations can't."""
    context_tokens: int | None = None
    kind: Kind = "chat"


def request_of(
    parties: Mapping[Reason, ModelPolicy | None], *, kind: Kind = "chat", tainted: bool = False, **needs: Any
) -> RouteRequest:
    """The request the parties' policies make together.

    Of each wish the first party that has it decides; `local_only` holds as soon as one has it. `needs` are fields of RouteRequest.
    """
    choices: dict[Reason, Choice] = {}
    wish: Wish | None = None
    wish_of: Reason = "request"
    local_only = False
    max_latency_ms: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    for reason in RANK:
        policy = parties.get(reason)
        if policy is None:
            continue
        if policy.provider or policy.model:
            choices[reason] = Choice(policy.provider, policy.model)
        if wish is None and (policy.force_cloud or policy.prefer_local):
            wish, wish_of = "cloud" if policy.force_cloud else "local", reason
        local_only = local_only or policy.local_only
        max_latency_ms = policy.max_latency_ms if max_latency_ms is None else max_latency_ms
        reasoning_effort = reasoning_effort or policy.reasoning_effort
    return RouteRequest(
        kind=kind,
        explicit=choices.get("request", NO_CHOICE),
        user=choices.get("user", NO_CHOICE),
        skill=choices.get("skill", NO_CHOICE),
        organization=choices.get("organization", NO_CHOICE),
        default=choices.get("default", NO_CHOICE),
        wish=wish,
        wish_of=wish_of,
        local_only=local_only,
        tainted=tainted,
        max_latency_ms=max_latency_ms,
        reasoning_effort=reasoning_effort,
        **needs,
    )


@dataclass(frozen=True, slots=True)
class ProviderState:
    """A provider as configured in this process, and its breaker: `unusable` is None or the reason."""

    default_model: str | None
    unusable: str | None
    embed_model: str | None = None
    breaker: str = "closed"
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of the providers at this moment. `latency_ms` is the measured median to the first token."""

    providers: Mapping[str, ProviderState]
    latency_ms: Mapping[tuple[str, str], int] | None = None

    def usable(self) -> list[str]:
        return [name for name, state in self.providers.items() if state.unusable is None]

    def latency(self, provider: str, model: str) -> int | None:
        return (self.latency_ms or {}).get((provider, model))


class Score(TypedDict):
    """What orders the candidates: part by part, in this order, less is better."""

    last_resort: bool
    left_alone: bool
    """Its breaker is open, and the request didn't ask for just this one."""
    after_wish: bool
    """A wish for cloud or local models comes from somebody with precedence over whoever chose this one."""
    against_wish: bool
    """And this one is of the other kind."""
    precedence: int
    """Whose choice it is: 0 the request's, 1 the user's, 2 the skill's, 3 the organisation's, 4 the environment's, 5 nobody's, in the
    catalogue's order, 6 the last resort's."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One that may be called, in its place. Prices in micro-USD per million tokens, None where unknown."""

    provider: str
    model: str
    reason: Reason
    location: str
    prompt_micro_usd: int | None
    completion_micro_usd: int | None
    breaker: str = "closed"
    latency_ms: int | None = None
    score: Score | None = None
    """What it was ordered by; None of one that was not chosen by `choose`."""


@dataclass(frozen=True, slots=True)
class Elimination:
    """One that may not. `provider` is None where a name matched none."""

    provider: str | None
    model: str | None
    code: Obstacle
    reason: str


@dataclass(frozen=True, slots=True)
class Route:
    """The ordered candidates (never empty), everything that was ruled out, and what the choice had to respect."""

    candidates: tuple[Candidate, ...]
    eliminations: tuple[Elimination, ...]
    reasoning_effort: ReasoningEffort | None = None
    policy: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """For the run's record and the API."""
        return {
            "candidates": [_plain(candidate) for candidate in self.candidates],
            "eliminations": [_plain(elimination) for elimination in self.eliminations],
            "reasoning_effort": self.reasoning_effort,
            "policy": dict(self.policy or {}),
        }


def _plain(value: Candidate | Elimination) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}
