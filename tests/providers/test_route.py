"""The choice of a model: its rules one by one, and what holds for any request."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalogue import Capabilities, Catalogue, ModelSpec, ProviderSpec, load_catalogue
from domain.errors import NoProvider
from domain.policy import ModelPolicy
from providers.access import resolve
from providers.choose import choose
from providers.route import Choice, ProviderState, Reason, Route, RouteRequest, Score, Snapshot, request_of

CATALOGUE = load_catalogue(Path(__file__).parents[2] / "config/providers.yaml")
ALL_KEYS = {
    "OPENROUTER_API_KEY": "k", "OPENAI_API_KEY": "k", "DEEPSEEK_API_KEY": "k", "GEMINI_API_KEY": "k",
    "MOONSHOT_API_KEY": "k", "LMSTUDIO_BASE_URL": "http://h/v1", "LMSTUDIO_MODEL": "m", "VLLM_BASE_URL": "http://h/v1",
    "VLLM_MODEL": "m", "LLAMACPP_BASE_URL": "http://h/v1", "OLLAMA_BASE_URL": "http://h",
}  # fmt: skip


def snapshot(environ: dict[str, str], catalogue: Catalogue = CATALOGUE) -> Snapshot:
    states = {}
    for spec in catalogue.providers:
        access = resolve(spec, environ)
        states[spec.name] = ProviderState(access.default_model, access.unusable, access.embed_model)
    return Snapshot(states)


EVERYTHING = snapshot(ALL_KEYS)


def order(request: RouteRequest, state: Snapshot = EVERYTHING) -> list[str]:
    return [c.provider for c in choose(request, CATALOGUE, state).candidates]


def test_the_default_order_ends_with_the_embedded_provider() -> None:
    assert order(RouteRequest()) == [
        "openrouter", "openai", "deepseek", "gemini", "moonshot", "lmstudio", "vllm", "llamacpp", "ollama",
        "extractive",
    ]  # fmt: skip


def test_without_any_key_only_the_embedded_provider_is_left() -> None:
    route = choose(RouteRequest(tools=True), CATALOGUE, snapshot({}))
    assert [c.provider for c in route.candidates] == ["extractive"]
    openai = next(e for e in route.eliminations if e.provider == "openai")
    assert (openai.code, openai.reason) == (
        "unusable",
        "set OPENAI_API_KEY (or OPENAI_BASE_URL for a server of your own)",
    )


def test_request_then_skill_then_organisation_then_order() -> None:
    request = RouteRequest(Choice("gemini"), skill=Choice("deepseek"), organization=Choice(model="openai/gpt-4o"))
    route = choose(request, CATALOGUE, EVERYTHING)
    assert [(c.provider, c.reason) for c in route.candidates[:4]] == [
        ("gemini", "request"), ("deepseek", "skill"), ("openai", "organization"), ("openrouter", "default_order"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(model="openai/gpt-4o"), ("openai", "gpt-4o")),
        (Choice(model="openai:gpt-4o"), ("openai", "gpt-4o")),
        (Choice(model="gpt-4o"), ("openai", "gpt-4o")),
        (Choice(model="kimi"), ("moonshot", "kimi-k2-thinking")),
        (Choice(model="moonshot/kimi"), ("moonshot", "kimi-k2-thinking")),
        (Choice(model="qwen3:8b"), ("ollama", "qwen3:8b")),
        (Choice(model="ollama/llama3.2:3b"), ("ollama", "llama3.2:3b")),
        (Choice("openrouter", "openai/gpt-4o"), ("openrouter", "openai/gpt-4o")),
        (Choice("openai", "openai/gpt-4o"), ("openai", "gpt-4o")),
        (Choice(model="openrouter/openai/gpt-4o"), ("openrouter", "openai/gpt-4o")),
        (Choice("deepseek"), ("deepseek", "deepseek-flash")),
        (Choice(model="extractive"), ("extractive", "extractive")),
    ],
)
def test_names_of_models(choice: Choice, expected: tuple[str, str]) -> None:
    first = choose(RouteRequest(choice), CATALOGUE, EVERYTHING).candidates[0]
    assert (first.provider, first.model) == expected


def test_a_listed_name_prefers_a_provider_that_can_be_used() -> None:
    first = choose(RouteRequest(Choice(model="openai/gpt-4o-mini")), CATALOGUE, snapshot({"OPENROUTER_API_KEY": "k"}))
    assert first.candidates[0].provider == "openrouter"


@pytest.mark.parametrize(
    "choice", [Choice("nobody"), Choice(model="no-such-model"), Choice("openai"), Choice(model="gpt-4o")]
)
def test_an_explicit_choice_that_cannot_be_had_is_refused_with_the_alternatives(choice: Choice) -> None:
    with pytest.raises(NoProvider) as refused:
        choose(RouteRequest(choice), CATALOGUE, snapshot({"DEEPSEEK_API_KEY": "secret"}))
    assert refused.value.details["available"][:2] == ["deepseek/deepseek-flash", "extractive/extractive"]
    assert "deepseek/deepseek-flash" in refused.value.message
    assert "secret" not in refused.value.message


def test_an_unusable_skill_choice_is_only_passed_over() -> None:
    route = choose(RouteRequest(skill=Choice("openai")), CATALOGUE, snapshot({"DEEPSEEK_API_KEY": "k"}))
    assert [c.provider for c in route.candidates] == ["deepseek", "extractive"]
    assert any(e.provider == "openai" for e in route.eliminations)


def test_needs_eliminate() -> None:
    small = ProviderSpec(
        name="small", family="openai_compatible", location="cloud", base_url="http://h", api_key_required=False,
        default_model="s", models=(ModelSpec(name="s", capabilities=Capabilities(tools=False, context_tokens=100)),),
    )  # fmt: skip
    catalogue = Catalogue(providers=(small, *CATALOGUE.providers))
    state = snapshot(ALL_KEYS, catalogue)
    codes = {
        e.code
        for request in (RouteRequest(tools=True), RouteRequest(context_tokens=101))
        for e in choose(request, catalogue, state).eliminations
        if e.provider == "small"
    }
    assert codes == {"no_tools", "context_too_small"}
    with pytest.raises(NoProvider):
        choose(RouteRequest(Choice("small"), tools=True), catalogue, state)


def test_an_explicit_local_choice_never_falls_over_to_the_cloud() -> None:
    assert order(RouteRequest(Choice("ollama"))) == ["ollama", "lmstudio", "vllm", "llamacpp", "extractive"]


def test_an_embedding_model_does_not_chat() -> None:
    with pytest.raises(NoProvider, match="not a chat model"):
        choose(RouteRequest(Choice(model="text-embedding-3-small")), CATALOGUE, EVERYTHING)


names = st.sampled_from([spec.name for spec in CATALOGUE.providers])
choices = st.builds(
    Choice, st.none() | names, st.none() | st.sampled_from(["gpt-4o", "kimi", "qwen3:8b", "openai/x", "zz"])
)
environs = st.sets(st.sampled_from(sorted(ALL_KEYS))).map(lambda keys: {key: ALL_KEYS[key] for key in keys})


@given(
    st.builds(
        RouteRequest,
        explicit=choices,
        user=choices,
        skill=choices,
        organization=choices,
        default=choices,
        wish=st.none() | st.sampled_from(["cloud", "local"]),
        wish_of=st.sampled_from(["request", "user", "skill", "organization"]),
        local_only=st.booleans(),
        tainted=st.booleans(),
        max_latency_ms=st.none() | st.integers(1, 1000),
        tools=st.booleans(),
        structured_output=st.booleans(),
        json_output=st.booleans(),
        context_tokens=st.none() | st.integers(1, 2_000_000),
        kind=st.sampled_from(["chat", "embed"]),
    ),
    environs,
    st.dictionaries(st.sampled_from(["openai", "deepseek", "ollama"]), st.sampled_from(["open", "half_open"])),
    st.dictionaries(st.just(("ollama", "qwen3:8b")), st.integers(1, 2000)),
)
def test_properties(
    request_: RouteRequest, environ: dict[str, str], breakers: dict[str, str], latencies: dict[tuple[str, str], int]
) -> None:
    states = {
        name: replace(state, breaker=breakers.get(name, "closed"))
        for name, state in snapshot(environ).providers.items()
    }
    state = Snapshot(states, latencies)
    route = refusal = None
    try:
        route = choose(request_, CATALOGUE, state)
    except NoProvider as refused:
        refusal = refused
    if refusal is not None:
        usable = {f"{name}/{one.default_model}" for name, one in states.items() if not one.unusable}
        assert set(refusal.details["available"]) >= usable
    if route is not None:
        check_route(request_, state, route)


def check_route(request_: RouteRequest, state: Snapshot, route: Route) -> None:
    assert route == choose(request_, CATALOGUE, state)
    pairs = [(c.provider, c.model) for c in route.candidates]
    assert len(set(pairs)) == len(pairs)
    assert pairs
    assert all(state.providers[provider].unusable is None for provider, _ in pairs)
    gone = {(e.provider, e.model) for e in route.eliminations}
    assert not gone & set(pairs)
    for spec in CATALOGUE.providers:
        assert any(p == spec.name for p, _ in pairs) or any(e.provider == spec.name for e in route.eliminations)
    if request_.explicit and not request_.tainted:
        assert route.candidates[0].reason == "request"
    if request_.local_only or request_.tainted:
        assert all(candidate.location != "cloud" for candidate in route.candidates)
    orders = [tuple((c.score or {}).values()) for c in route.candidates]
    assert orders == sorted(orders)
    assert all(list(c.score or ()) == list(Score.__annotations__) for c in route.candidates)
    assert [c.reason for c in route.candidates].count("last_resort") <= 1
    if "last_resort" in {c.reason for c in route.candidates}:
        assert route.candidates[-1].reason == "last_resort"
    assert all(e.reason for e in route.eliminations)
    json.dumps(route.as_json())


def test_a_wish_decides_over_those_who_come_after() -> None:
    usable = EVERYTHING.usable()
    cloud = [spec.name for spec in CATALOGUE.providers if spec.location == "cloud" and spec.name in usable]
    local = [spec.name for spec in CATALOGUE.providers if spec.location == "local" and spec.name in usable]
    assert order(RouteRequest(wish="cloud")) == [*cloud, *local, "extractive"]
    assert order(RouteRequest(wish="local")) == [*local, *cloud, "extractive"]
    wished = RouteRequest(skill=Choice("ollama"), wish="cloud", wish_of="request")
    assert order(wished)[:1] == ["openrouter"]
    by_the_organization = RouteRequest(skill=Choice("ollama"), wish="cloud", wish_of="organization")
    assert order(by_the_organization)[:2] == ["ollama", "openrouter"]


def test_embeddings_go_local_first_whatever_is_wished() -> None:
    route = choose(RouteRequest(kind="embed", wish="cloud"), CATALOGUE, EVERYTHING)
    assert (route.candidates[0].provider, route.candidates[0].model) == ("ollama", "qwen3-embedding:0.6b")
    assert route.candidates[1].model == "text-embedding-3-small"
    assert next(e for e in route.eliminations if e.provider == "extractive").code == "no_embeddings"


def test_the_environments_default_comes_before_the_catalogues_order() -> None:
    request = RouteRequest(default=Choice("deepseek"))
    assert order(request)[:2] == ["deepseek", "openrouter"]
    assert choose(request, CATALOGUE, EVERYTHING).candidates[0].reason == "default"
    assert order(RouteRequest(default=Choice("deepseek"), organization=Choice("gemini")))[:2] == ["gemini", "deepseek"]


def test_a_local_model_measured_too_slow_is_left_out() -> None:
    slow = Snapshot(EVERYTHING.providers, {("ollama", "qwen3:8b"): 3001})
    route = choose(RouteRequest(wish="local", max_latency_ms=3000), CATALOGUE, slow)
    assert next(e for e in route.eliminations if e.provider == "ollama").code == "too_slow"
    assert "ollama" in [c.provider for c in choose(RouteRequest(max_latency_ms=3001), CATALOGUE, slow).candidates]


def test_a_provider_its_breaker_leaves_alone_comes_after_the_healthy_ones() -> None:
    states = {**EVERYTHING.providers, "openrouter": replace(EVERYTHING.providers["openrouter"], breaker="open")}
    candidates = choose(RouteRequest(), CATALOGUE, Snapshot(states)).candidates
    assert [c.provider for c in candidates][-2:] == ["openrouter", "extractive"]
    assert candidates[-2].breaker == "open"


def test_what_must_stay_stays() -> None:
    assert not {"openai", "openrouter"} & set(order(RouteRequest(wish="cloud", local_only=True)))
    with pytest.raises(NoProvider, match="local_only"):
        choose(RouteRequest(Choice("openai"), local_only=True), CATALOGUE, EVERYTHING)
    # what a document brings in the middle of a run doesn't end it
    route = choose(RouteRequest(Choice("openai"), tainted=True), CATALOGUE, EVERYTHING)
    assert all(candidate.location != "cloud" for candidate in route.candidates)


def test_the_parties_together() -> None:
    parties: dict[Reason, ModelPolicy | None] = {
        "organization": ModelPolicy(provider="gemini", local_only=True, max_latency_ms=5),
        "request": ModelPolicy(reasoning_effort="low"),
        "user": ModelPolicy(prefer_local=True, max_latency_ms=9, reasoning_effort="high"),
        "skill": None,
    }
    request = request_of(parties, tools=True)
    assert request.organization == Choice("gemini")
    assert (request.wish, request.wish_of, request.local_only) == ("local", "user", True)
    assert (request.max_latency_ms, request.reasoning_effort, request.tools) == (9, "low", True)
