"""What the vendors' own words are on the wires: signatures, reasoning, structured output; and what the catalogue says of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage

from domain.catalogue import Catalogue
from providers.openai_compatible import UNSIGNED
from providers.registry import Providers
from providers.stream import stream_chat
from providers.structured import native_options
from retrieval.analyse import analyse
from tests.upstream.reply import Call, Reply, fixed, script
from tests.upstream.server import Upstream

TOOL = {"type": "function", "function": {"name": "search", "description": "", "parameters": {"type": "object"}}}
SIGNED = {"google": {"thought_signature": "c2lnbmVk"}}


@pytest.fixture
async def vendors(catalogue: Catalogue, server: Upstream) -> AsyncIterator[Providers]:
    """Every cloud vendor of the catalogue, all of them the scripted server."""
    environ = {}
    for spec in catalogue.providers:
        if spec.location == "cloud" and spec.base_url_env and spec.api_key_env:
            environ[spec.base_url_env] = server.url if spec.family == "anthropic" else server.openai_url
            environ[spec.api_key_env] = "sk-secret-key"
    providers = Providers(catalogue, environ, analyse)
    yield providers
    await providers.aclose()


async def ask(providers: Providers, provider: str, *messages: Any, effort: Any = None, **options: Any) -> AIMessage:
    whole: AIMessageChunk | None = None
    chat = providers.chat(provider, effort=effort)
    asked = messages or (HumanMessage("how many?"),)
    async for chunk in stream_chat(chat, provider, asked, tools=[TOOL], known_tools={"search"}, options=options):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return AIMessage(
        whole.text,
        tool_calls=whole.tool_calls,
        additional_kwargs=whole.additional_kwargs,
        response_metadata={**whole.response_metadata, "provider": provider},
    )


async def test_gemini_gets_the_signatures_of_its_calls_back(vendors: Providers, server: Upstream) -> None:
    calls = [Call("search", '{"q": 1}', "a", SIGNED), Call("search", '{"q": 2}', "b")]
    server.policy = script(Reply(calls=calls), Reply(["Three."]))
    asked = HumanMessage("how many?")
    called = await ask(vendors, "gemini", asked)
    assert [call["id"] for call in called.tool_calls] == ["a", "b"]
    results = [ToolMessage("3", tool_call_id="a"), ToolMessage("3", tool_call_id="b")]
    assert (await ask(vendors, "gemini", asked, called, *results)).text == "Three."
    sent = server.requests[1]["messages"][1]["tool_calls"]
    assert [call["extra_content"] for call in sent] == [SIGNED, UNSIGNED]
    # another provider is told nothing of it, and its calls are not taken for Gemini's
    await ask(vendors, "openai", asked, called, *results)
    assert all("extra_content" not in call for call in server.requests[2]["messages"][1]["tool_calls"])
    called.response_metadata["provider"] = "openai"
    await ask(vendors, "gemini", asked, called, *results)
    assert {str(call["extra_content"]) for call in server.requests[3]["messages"][1]["tool_calls"]} == {str(UNSIGNED)}


@pytest.mark.parametrize("provider", ["deepseek", "moonshot"])
async def test_reasoning_goes_back_where_the_vendor_wants_it(
    vendors: Providers, server: Upstream, provider: str
) -> None:
    server.policy = script(Reply(calls=[Call("search", "{}", "a")], reasoning=["I ", "look."]), Reply(["Three."]))
    asked = HumanMessage("how many?")
    called = await ask(vendors, provider, asked)
    assert called.additional_kwargs["reasoning_content"] == "I look."
    await ask(vendors, provider, asked, called, ToolMessage("3", tool_call_id="a"))
    assert server.requests[1]["messages"][1]["reasoning_content"] == "I look."


async def test_an_earlier_answer_goes_out_as_it_was_said(vendors: Providers, server: Upstream) -> None:
    called = AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "c1"}])
    said = [
        HumanMessage("one"),
        AIMessage("first"),
        HumanMessage("two"),
        called,
        ToolMessage("found", tool_call_id="c1"),
        AIMessage("named", name="main"),
        HumanMessage("three"),
    ]
    await ask(vendors, "openai", *said)
    sent = server.requests[-1]["messages"]
    assert [(one["role"], one["content"]) for one in sent] == [
        ("user", "one"),
        ("assistant", "first"),
        ("user", "two"),
        ("assistant", None),
        ("tool", "found"),
        ("assistant", "named"),
        ("user", "three"),
    ]
    assert sent[3]["tool_calls"][0]["id"] == "c1"
    assert [one.content for one in said if isinstance(one, AIMessage)] == ["first", "", "named"]


async def test_claudes_thinking_is_reasoning_content(vendors: Providers, server: Upstream) -> None:
    server.policy = fixed("Three.", reasoning=["I ", "count."])
    answer = await ask(vendors, "anthropic", effort="low")
    assert answer.text == "Three."
    assert answer.additional_kwargs["reasoning_content"] == "I count."
    [request] = server.requests
    assert request["output_config"] == {"effort": "low"}
    server.policy = fixed("Three.")
    assert "reasoning_content" not in (await ask(vendors, "anthropic")).additional_kwargs
    assert "output_config" not in server.requests[1]


async def test_claude_is_held_to_a_schema(vendors: Providers, server: Upstream) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    spec = vendors.catalogue.provider("anthropic")
    assert spec is not None
    assert spec.default_model is not None
    options = native_options(spec, spec.default_model, schema, tools=True)
    assert options is not None
    server.policy = fixed('{"n": 3}')
    assert (await ask(vendors, "anthropic", effort="low", **options)).text == '{"n": 3}'
    asked = server.requests[0]["output_config"]
    assert asked == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}


@pytest.mark.parametrize(("provider", "name"), [("openai", "max_completion_tokens"), ("deepseek", "max_tokens")])
async def test_the_limit_of_an_answer_has_the_name_the_vendor_knows(
    vendors: Providers, server: Upstream, provider: str, name: str
) -> None:
    await ask(vendors, provider, max_tokens=7)
    names = {"max_tokens", "max_completion_tokens"} & set(server.requests[0])
    assert {name: server.requests[0][name] for name in names} == {name: 7}


def test_the_catalogue_has_everybody(catalogue: Catalogue) -> None:
    families = {spec.name: (spec.family, spec.location) for spec in catalogue.providers}
    assert families == {
        "openrouter": ("openai_compatible", "cloud"),
        "openai": ("openai_compatible", "cloud"),
        "deepseek": ("openai_compatible", "cloud"),
        "gemini": ("openai_compatible", "cloud"),
        "moonshot": ("openai_compatible", "cloud"),
        "anthropic": ("anthropic", "cloud"),
        "lmstudio": ("openai_compatible", "local"),
        "vllm": ("openai_compatible", "local"),
        "llamacpp": ("openai_compatible", "local"),
        "custom": ("openai_compatible", "local"),
        "ollama": ("ollama", "local"),
        "huggingface": ("huggingface", "embedded"),
        "extractive": ("extractive", "embedded"),
    }
    assert catalogue.providers[-1].name == "extractive"
    for spec in catalogue.providers:
        listed = {model.name for model in spec.models}
        assert spec.default_model is None or not listed or spec.default_model in listed
        assert spec.location == "cloud" or all(
            not model.price or model.price.prompt_micro_usd == 0 for model in spec.models
        )


def test_an_unknown_price_is_null(catalogue: Catalogue) -> None:
    rows = {row["provider"]: row for row in Providers(catalogue, {}, analyse).matrix()}
    prices = {model["name"]: model["price"] for model in rows["deepseek"]["models"]}
    assert set(prices.values()) == {None}
    free = {model["name"]: model["price"] for model in rows["extractive"]["models"]}
    assert free["extractive"] == {"prompt_micro_usd": 0, "completion_micro_usd": 0}


async def test_ollama_is_asked_for_the_context_the_catalogue_counts_on(catalogue: Catalogue, server: Upstream) -> None:
    providers = Providers(catalogue, {"OLLAMA_BASE_URL": server.url}, analyse)
    await ask(providers, "ollama")
    spec = catalogue.provider("ollama")
    assert spec is not None
    assert server.requests[-1]["options"]["num_ctx"] == spec.model("qwen3:8b").capabilities.context_tokens
    await providers.aclose()
