"""The choice of a model: a pure function of the request, the catalogue and a snapshot. It explains itself completely.

Every (provider, model) that comes into question ends either among the candidates, with the reason for its place, or
among the eliminations, with the reason for its exclusion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from domain.catalogue import Capabilities, Catalogue, Price, ProviderSpec
from domain.errors import NoProvider

Reason = Literal["request", "skill", "organization", "default_order", "last_resort", "repair"]
Obstacle = Literal[
    "unknown", "unusable", "no_chat", "no_tools", "no_structured_output", "context_too_small", "leaves_premises"
]
_RANK: dict[Reason, int] = {"request": 0, "skill": 1, "organization": 2, "default_order": 3, "last_resort": 4, "repair": 5}


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody prefers. `model` alone may be "provider/model", "provider:model", a model's name or alias, or a
    provider."""

    provider: str | None = None
    model: str | None = None

    def __bool__(self) -> bool:
        return bool(self.provider or self.model)


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """What the call needs. `context_tokens` counts the prompt plus the room for the answer; None where not known."""

    explicit: Choice = Choice()
    skill: Choice = Choice()
    organization: Choice = Choice()
    tools: bool = False
    structured_output: bool = False
    json_output: bool = False
    """The answer has to be JSON that fits a schema; a model may be helped to it, quotations can't."""
    context_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderState:
    """A provider as configured in this process: `unusable` is None or the reason."""

    default_model: str | None
    unusable: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of the providers at this moment."""

    providers: Mapping[str, ProviderState]

    def usable(self) -> list[str]:
        return [name for name, state in self.providers.items() if state.unusable is None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One that may be called, in its place. Prices in micro-USD per million tokens, None where unknown."""

    provider: str
    model: str
    reason: Reason
    location: str
    prompt_micro_usd: int | None
    completion_micro_usd: int | None


@dataclass(frozen=True, slots=True)
class Elimination:
    """One that may not. `provider` is None where a name matched none."""

    provider: str | None
    model: str | None
    code: Obstacle
    reason: str


@dataclass(frozen=True, slots=True)
class Route:
    """The ordered candidates (never empty) and everything that was ruled out."""

    candidates: tuple[Candidate, ...]
    eliminations: tuple[Elimination, ...]

    def as_json(self) -> dict[str, Any]:
        """For the run's record and the API."""
        return asdict(self)


def choose(request: RouteRequest, catalogue: Catalogue, snapshot: Snapshot) -> Route:
    """Order the models for a call.

    The request's own choice comes first and must be usable; then the skill's and the organisation's, where usable;
    then the catalogue's order; `extractive` ends the chain. After an explicit choice of a local model no cloud model
    follows. Raises NoProvider where the explicit choice can't be had, or nothing fits the needs; `details.available`
    lists what is.
    """
    eliminations: list[Elimination] = []
    wanted: dict[tuple[str, str], Reason] = {}
    chosen = (("request", request.explicit), ("skill", request.skill), ("organization", request.organization))
    for reason, choice in chosen:
        if not choice:
            continue
        found = _find(choice, catalogue, snapshot)
        if isinstance(found, Elimination):
            if reason == "request":
                raise _refusal(found.reason, snapshot)
            eliminations.append(found)
        else:
            wanted.setdefault(found, reason)  # type: ignore[arg-type]
    for spec in catalogue.providers:
        state = snapshot.providers.get(spec.name)
        if state is None or state.default_model is None:
            if not any(provider == spec.name for provider, _ in wanted):
                why = state.unusable if state and state.unusable else "it is not configured"
                eliminations.append(Elimination(spec.name, None, "unusable", why))
            continue
        name = spec.model(state.default_model).name
        wanted.setdefault((spec.name, name), "last_resort" if spec.family == "extractive" else "default_order")

    explicit = next((key for key, reason in wanted.items() if reason == "request"), None)
    on_premises = explicit is not None and _spec(catalogue, explicit[0]).location != "cloud"
    candidates: list[Candidate] = []
    for (provider, model), reason in wanted.items():
        spec = _spec(catalogue, provider)
        obstacle = _obstacle(request, spec, model, snapshot, on_premises and reason != "request")
        if obstacle is None:
            candidates.append(_candidate(spec, model, reason))
        elif reason == "request":
            raise _refusal(f"{provider}/{model}: {obstacle.reason}", snapshot)
        else:
            eliminations.append(obstacle)
    if not candidates:
        problems = "; ".join(f"{e.provider or e.model}: {e.reason}" for e in eliminations)
        raise _refusal(f"No provider fits this request ({problems})", snapshot)
    # sort is stable: within a rank the catalogue's order stays
    candidates.sort(key=lambda candidate: _RANK[candidate.reason])
    return Route(tuple(candidates), tuple(eliminations))


def _find(choice: Choice, catalogue: Catalogue, snapshot: Snapshot) -> tuple[str, str] | Elimination:
    """The (provider, model) a choice names."""
    if choice.provider:
        spec = catalogue.provider(choice.provider)
        if spec is None:
            return Elimination(
                choice.provider, choice.model, "unknown", f"there is no provider '{choice.provider[:100]}'"
            )
        name = choice.model or ""
        for separator in "/:":
            if name.partition(separator)[0] == spec.name and not _listed(spec, name, snapshot):
                name = name.partition(separator)[2]
        return _in_provider(spec, name, snapshot)
    name = choice.model or ""
    named = _by_prefix(name, catalogue)
    if named is not None and _usable(named[0], snapshot):
        return _in_provider(*named, snapshot)
    listed = [spec for spec in catalogue.providers if _listed(spec, name, snapshot)]
    for spec in listed:
        if _usable(spec, snapshot):
            return _in_provider(spec, name, snapshot)
    whole = catalogue.provider(name)
    if whole is not None:
        return _in_provider(whole, "", snapshot)
    if named is not None:
        return _in_provider(*named, snapshot)
    if listed:
        return _in_provider(listed[0], name, snapshot)
    return Elimination(
        None, name, "unknown", f"no provider is known for the model '{name[:200]}'; name it as provider/model"
    )


def _by_prefix(name: str, catalogue: Catalogue) -> tuple[ProviderSpec, str] | None:
    """The provider and the model of "provider/model" or "provider:model"."""
    for separator in "/:":
        head, found, tail = name.partition(separator)
        spec = catalogue.provider(head)
        if found and spec is not None:
            return spec, tail
    return None


def _usable(spec: ProviderSpec, snapshot: Snapshot) -> bool:
    state = snapshot.providers.get(spec.name)
    return state is not None and state.unusable is None


def _listed(spec: ProviderSpec, name: str, snapshot: Snapshot) -> bool:
    state = snapshot.providers.get(spec.name)
    if state is not None and name == state.default_model:
        return True
    return any(name == model.name or name in model.aliases for model in spec.models)


def _in_provider(spec: ProviderSpec, name: str, snapshot: Snapshot) -> tuple[str, str] | Elimination:
    state = snapshot.providers.get(spec.name)
    name = name or (state.default_model if state else None) or ""
    if not name:
        why = (state.unusable if state else None) or "it has no default model; name one"
        return Elimination(spec.name, None, "unusable", f"provider '{spec.name}' can't be used: {why}")
    return spec.name, spec.model(name).name


def _obstacle(
    request: RouteRequest, spec: ProviderSpec, model: str, snapshot: Snapshot, stays: bool
) -> Elimination | None:
    state = snapshot.providers.get(spec.name)
    able: Capabilities = spec.model(model).capabilities

    def out(code: Obstacle, reason: str) -> Elimination:
        return Elimination(spec.name, model, code, reason)

    if state is None:
        return out("unusable", "it is not configured")
    if state.unusable is not None:
        return out("unusable", state.unusable)
    if stays and spec.location == "cloud":
        return out("leaves_premises", "the request chose a local model, so no cloud model stands in for it")
    if not able.chat:
        return out("no_chat", "it is not a chat model")
    if request.tools and able.tools is False:
        return out("no_tools", "it can't call tools")
    if request.json_output and spec.family == "extractive":
        return out("no_structured_output", "it quotes, and can't write JSON to a schema")
    if request.structured_output and able.structured_output is False:
        return out("no_structured_output", "it can't keep to a schema")
    need, room = request.context_tokens, able.context_tokens
    if need is not None and room is not None and need > room:
        return out("context_too_small", f"the prompt needs {need} tokens, it takes {room}")
    return None


def _candidate(spec: ProviderSpec, model: str, reason: Reason) -> Candidate:
    price: Price | None = spec.model(model).price
    return Candidate(
        spec.name,
        model,
        reason,
        spec.location,
        price.prompt_micro_usd if price else None,
        price.completion_micro_usd if price else None,
    )


def _spec(catalogue: Catalogue, name: str) -> ProviderSpec:
    spec = catalogue.provider(name)
    assert spec is not None, "only providers of the catalogue get this far"
    return spec


def _refusal(problem: str, snapshot: Snapshot) -> NoProvider:
    available = [
        f"{name}/{state.default_model}" for name, state in snapshot.providers.items() if state.unusable is None
    ]
    return NoProvider(f"{problem}. Available: {', '.join(available) or 'none'}.", available=available)
