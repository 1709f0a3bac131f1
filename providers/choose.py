"""The choice of a model: a pure function of the request, the catalogue and a snapshot. It explains itself completely.

Every (provider, model) that comes into question ends either among the candidates, with the reason for its place, or
among the eliminations, with the reason for its exclusion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import Any

from domain.catalogue import Capabilities, Catalogue, Price, ProviderSpec
from domain.errors import NoProvider, UnknownModel
from providers.route import (
    RANK,
    Candidate,
    Choice,
    Elimination,
    Kind,
    Obstacle,
    ProviderState,
    Reason,
    Route,
    RouteRequest,
    Score,
    Snapshot,
)

NOT_CONFIGURED = "it is not configured"
_elimination = lru_cache(maxsize=1000)(Elimination)
"""For reasons that don't change from call to call: the same few come out at each."""


def choose(request: RouteRequest, catalogue: Catalogue, snapshot: Snapshot) -> Route:
    """Order the models for a call.

    The request's own choice comes first and must be usable; then the user's, the skill's and the organisation's, where usable; then
    the environment's default; then the catalogue's order; `extractive` ends the chain. A wish (`force_cloud`, `prefer_local`)
    orders all that comes after the party that has it; embeddings go local first whoever wishes otherwise. Providers left alone by
    their breaker come after the healthy ones. After an explicit choice of a local model no cloud model follows.

    Raises UnknownModel or NoProvider where the explicit choice can't be had, or nothing fits the needs; `details.available` lists
    what is.
    """
    eliminations: list[Elimination] = []
    wanted = _wanted(request, catalogue, snapshot, eliminations)
    explicit = next((key for key, reason in wanted.items() if reason == "request"), None)
    on_premises = explicit is not None and _spec(catalogue, explicit[0]).location != "cloud"
    candidates: list[Candidate] = []
    for (provider, model), reason in wanted.items():
        spec = _spec(catalogue, provider)
        obstacle = _obstacle(request, spec, model, snapshot, reason, on_premises and reason != "request")
        if obstacle is None and request.kind == "embed" and explicit is not None and model != explicit[1]:
            why = f"its vectors can't be compared with those of {explicit[1]}, which the request chose"
            obstacle = Elimination(provider, model, "other_vectors", why)
        if obstacle is None:
            candidates.append(_candidate(request, spec, model, reason, snapshot))
        elif reason == "request" and not (request.tainted and obstacle.code == "leaves_premises"):
            raise _refusal(f"{provider}/{model}: {obstacle.reason}", snapshot)
        else:
            eliminations.append(obstacle)
    if not candidates:
        problems = "; ".join(f"{e.provider or e.model}: {e.reason}" for e in eliminations)
        raise _refusal(f"No provider fits this request ({problems})", snapshot)
    # sort is stable: where nothing decides the catalogue's order stays
    candidates.sort(key=_order)
    return Route(tuple(candidates), tuple(eliminations), request.reasoning_effort, _asked(request))


def _wanted(
    request: RouteRequest, catalogue: Catalogue, snapshot: Snapshot, eliminations: list[Elimination]
) -> dict[tuple[str, str], Reason]:
    """Every model that comes into question, with the best reason for it."""
    wanted: dict[tuple[str, str], Reason] = {}
    chosen: list[tuple[Reason, Choice]] = [
        ("request", request.explicit),
        ("user", request.user),
        ("skill", request.skill),
        ("organization", request.organization),
        ("default", request.default),
    ]
    for reason, choice in chosen:
        if not choice:
            continue
        found = _find(choice, catalogue, snapshot, request.kind)
        if not isinstance(found, Elimination):
            wanted.setdefault(found, reason)
        elif reason == "request":
            raise _unknown(found, catalogue, snapshot)
        elif reason != "default":
            eliminations.append(found)
    named = {provider for provider, _ in wanted}
    for spec in catalogue.providers:
        state = snapshot.providers.get(spec.name)
        default = _default_model(state, request.kind)
        if default is None:
            if spec.name not in named:
                eliminations.append(_without_default(spec, state, request.kind))
            continue
        key = (spec.name, spec.model(default).name)
        wanted.setdefault(key, "last_resort" if spec.family == "extractive" else "default_order")
    return wanted


def _default_model(state: ProviderState | None, kind: Kind) -> str | None:
    if state is None:
        return None
    return state.embed_model if kind == "embed" else state.default_model


def _without_default(spec: ProviderSpec, state: ProviderState | None, kind: Kind) -> Elimination:
    if state is not None and state.unusable:
        return _elimination(spec.name, None, "unusable", state.unusable)
    if kind == "embed" and state is not None:
        why = f"set {spec.embed_model_env}" if spec.embed_model_env else "it makes no embeddings"
        return _elimination(spec.name, None, "no_embeddings", why)
    return _elimination(spec.name, None, "unusable", NOT_CONFIGURED)


_DEFAULTS = [(field.name, field.default) for field in fields(RouteRequest)]


def _asked(request: RouteRequest) -> dict[str, Any]:
    """The parts of the request that are not at their defaults, for the record."""
    shown: dict[str, Any] = {}
    for name, default in _DEFAULTS:
        value = getattr(request, name)
        if value is not default and value != default:
            shown[name] = _plain_choice(value) if isinstance(value, Choice) else value
    return shown


def _plain_choice(choice: Choice) -> str:
    return "/".join(part for part in (choice.provider, choice.model) if part)


def _find(choice: Choice, catalogue: Catalogue, snapshot: Snapshot, kind: Kind) -> tuple[str, str] | Elimination:
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
        return _in_provider(spec, name, snapshot, kind)
    name = choice.model or ""
    named = _by_prefix(name, catalogue)
    if named is not None and _usable(named[0], snapshot):
        return _in_provider(*named, snapshot, kind)
    listed = [spec for spec in catalogue.providers if _listed(spec, name, snapshot)]
    for spec in listed:
        if _usable(spec, snapshot):
            return _in_provider(spec, name, snapshot, kind)
    whole = catalogue.provider(name)
    if whole is not None:
        return _in_provider(whole, "", snapshot, kind)
    if named is not None:
        return _in_provider(*named, snapshot, kind)
    if listed:
        return _in_provider(listed[0], name, snapshot, kind)
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
    if state is not None and name in (state.default_model, state.embed_model):
        return True
    return any(name == model.name or name in model.aliases for model in spec.models)


def _in_provider(spec: ProviderSpec, name: str, snapshot: Snapshot, kind: Kind) -> tuple[str, str] | Elimination:
    state = snapshot.providers.get(spec.name)
    name = name or _default_model(state, kind) or ""
    if not name:
        why = (state.unusable if state else None) or "it has no default model; name one"
        return Elimination(spec.name, None, "unusable", f"provider '{spec.name}' can't be used: {why}")
    return spec.name, spec.model(name).name


Out = Callable[[Obstacle, str], Elimination]


def _obstacle(
    request: RouteRequest, spec: ProviderSpec, model: str, snapshot: Snapshot, reason: Reason, stays: bool
) -> Elimination | None:
    state = snapshot.providers.get(spec.name)
    if state is None or state.unusable is not None:
        return _elimination(spec.name, model, "unusable", NOT_CONFIGURED if state is None else state.unusable)

    def out(code: Obstacle, why: str) -> Elimination:
        return Elimination(spec.name, model, code, why)

    if spec.location == "cloud":
        if request.local_only:
            return out("leaves_premises", "a policy keeps this on the premises (local_only), whatever else is wished")
        if request.tainted:
            return out("leaves_premises", "the conversation holds a document that must not leave the premises")
        if stays:
            return out("leaves_premises", "the request chose a local model, so no cloud model stands in for it")
    able: Capabilities = spec.model(model).capabilities
    if request.kind == "embed":
        # what the catalogue doesn't list may make them: who asks for it by name will know
        may = (
            reason == "request"
            and spec.family in ("openai_compatible", "ollama")
            and not _listed(spec, model, snapshot)
        )
        return (
            None
            if able.embeddings or model == state.embed_model or may
            else out("no_embeddings", "it makes no embeddings")
        )
    return _unable(request, able, spec, out) or _slow(request, spec, model, snapshot, reason, out)


def _unable(request: RouteRequest, able: Capabilities, spec: ProviderSpec, out: Out) -> Elimination | None:
    obstacle: Elimination | None = None
    need, room = request.context_tokens, able.context_tokens
    if not able.chat:
        obstacle = out("no_chat", "it is not a chat model")
    elif request.tools and able.tools is False:
        obstacle = out("no_tools", "it can't call tools")
    elif request.structured_output and able.structured_output is False:
        obstacle = out("no_structured_output", "it can't keep to a schema")
    elif request.json_output and spec.family == "extractive":
        obstacle = out("no_structured_output", "it quotes documents and can't write JSON to a schema")
    elif need is not None and room is not None and need > room:
        obstacle = out("context_too_small", f"the prompt needs {need} tokens, it takes {room}")
    return obstacle


def _slow(
    request: RouteRequest, spec: ProviderSpec, model: str, snapshot: Snapshot, reason: Reason, out: Out
) -> Elimination | None:
    """A local model that was measured too slow. An explicit choice stands; what was never measured gets its chance."""
    limit, measured = request.max_latency_ms, snapshot.latency(spec.name, model)
    if limit is None or measured is None or reason == "request" or spec.location != "local" or measured <= limit:
        return None
    return out("too_slow", f"its first token takes {measured} ms, allowed are {limit} ms")


def _candidate(request: RouteRequest, spec: ProviderSpec, model: str, reason: Reason, snapshot: Snapshot) -> Candidate:
    price: Price | None = spec.model(model).price
    state = snapshot.providers[spec.name]
    return Candidate(
        spec.name,
        model,
        reason,
        spec.location,
        price.prompt_micro_usd if price else None,
        price.completion_micro_usd if price else None,
        state.breaker,
        snapshot.latency(spec.name, model),
        _score(request, spec.location, reason, state.breaker),
    )


def _score(request: RouteRequest, location: str, reason: Reason, breaker: str) -> Score:
    rank = RANK[reason]
    wish, of = request.wish, RANK[request.wish_of]
    if request.kind == "embed":
        wish, of = "local", RANK["request"]
    behind = wish is not None and rank > of
    return {
        "last_resort": reason == "last_resort",
        "left_alone": breaker == "open" and reason != "request",
        "after_wish": behind,
        "against_wish": behind and (location == "cloud") == (wish == "local"),
        "precedence": rank,
    }


def _order(candidate: Candidate) -> tuple[int, ...]:
    score = candidate.score
    assert score is not None, "candidates of a choice have one"
    kept_back = (score["last_resort"], score["left_alone"], score["after_wish"], score["against_wish"])
    return *kept_back, score["precedence"]


def _spec(catalogue: Catalogue, name: str) -> ProviderSpec:
    spec = catalogue.provider(name)
    assert spec is not None, "only providers of the catalogue get this far"
    return spec


def _unknown(found: Elimination, catalogue: Catalogue, snapshot: Snapshot) -> NoProvider:
    """The refusal of an explicit choice that can't be had."""
    if found.code != "unknown":
        return _refusal(found.reason, snapshot)
    names = [
        f"{spec.name}/{model.name}"
        for spec in catalogue.providers
        if _usable(spec, snapshot)
        for model in spec.models or ()
    ]
    aliases = [
        alias
        for spec in catalogue.providers
        if _usable(spec, snapshot)
        for model in spec.models
        for alias in model.aliases
    ]
    refusal = _refusal(found.reason, snapshot)
    available = list(dict.fromkeys([*refusal.details["available"], *names, *aliases]))
    return UnknownModel(refusal.message, available=available)


def _refusal(problem: str, snapshot: Snapshot) -> NoProvider:
    available = [
        f"{name}/{state.default_model}" for name, state in snapshot.providers.items() if state.unusable is None
    ]
    return NoProvider(f"{problem}. Available: {', '.join(available) or 'none'}.", available=available)
