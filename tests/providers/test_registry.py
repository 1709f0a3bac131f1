"""The catalogue's file, what the environment makes of it, and the models built from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from domain.catalogue import Catalogue, load_catalogue
from domain.errors import ConfigurationError, NoProvider
from providers.registry import Providers
from retrieval.analyse import analyse

KEY = "sk-very-secret"
TWICE = "  - {name: e, family: extractive, location: embedded}\n"


def registry(catalogue: Catalogue, **environ: str) -> Providers:
    return Providers(catalogue, environ, analyse)


def test_usable_by_key_or_by_address(catalogue: Catalogue) -> None:
    assert registry(catalogue).usable() == ("extractive",)
    assert registry(catalogue, OPENAI_API_KEY=KEY).usable() == ("openai", "extractive")
    assert registry(catalogue, OPENAI_BASE_URL="http://127.0.0.1:1/v1").usable() == ("openai", "extractive")
    assert registry(catalogue, OLLAMA_BASE_URL="http://127.0.0.1:1").usable() == ("ollama", "extractive")
    assert registry(catalogue, OPENAI_API_KEY="  ").usable() == ("extractive",)
    rows = {row["provider"]: row for row in registry(catalogue, VLLM_BASE_URL="http://h/v1").matrix()}
    assert rows["vllm"]["reason"] == "set VLLM_MODEL"
    assert registry(catalogue, OLLAMA_BASE_URL="gpu:11434").usable() == ("extractive",)


def test_the_vendors_classes_behind_guards(catalogue: Catalogue) -> None:
    from langchain_ollama import ChatOllama
    from langchain_openai import ChatOpenAI

    providers = registry(catalogue, OPENAI_API_KEY=KEY, OPENAI_MODEL="gpt-4.1", OLLAMA_BASE_URL="http://127.0.0.1:1")
    openai = providers.chat("openai")
    assert isinstance(openai, ChatOpenAI)
    assert (openai.model_name, openai.max_retries) == ("gpt-4.1", 0)
    assert isinstance(providers.chat("ollama", "llama3.2"), ChatOllama)
    assert providers.chat("openai") is openai
    assert providers.chat("openai", "gpt-4.1") is openai
    assert providers.chat("openai", "gpt-4o") is not openai


async def test_warming_builds_what_can_be_used(catalogue: Catalogue) -> None:
    providers = registry(catalogue, OPENAI_API_KEY=KEY, OLLAMA_BASE_URL="http://127.0.0.1:1")
    await providers.warm()
    built = {("openai", "gpt-4o-mini", None), ("ollama", "qwen3:8b", None), ("extractive", "extractive", None)}
    assert set(providers._models) == built
    await providers.aclose()


def test_one_providers_address_does_not_reach_another(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    deepseek = registry(catalogue, DEEPSEEK_API_KEY=KEY).chat("deepseek")
    assert "deepseek.com" in str(deepseek.root_async_client.base_url)  # type: ignore[attr-defined]


def test_unknown_and_unusable_providers(catalogue: Catalogue) -> None:
    providers = registry(catalogue, OPENAI_API_KEY=KEY)
    for name in ("nobody", "deepseek"):
        with pytest.raises(NoProvider) as refused:
            providers.chat(name)
        assert refused.value.details["available"] == ["openai", "extractive"]


def test_no_secret_is_ever_shown(catalogue: Catalogue) -> None:
    providers = registry(catalogue, OPENAI_API_KEY=KEY, OLLAMA_BASE_URL=f"http://user:{KEY}@h")
    shown = json.dumps(providers.matrix()) + repr(providers.snapshot()) + repr(providers.chat("openai"))
    assert KEY not in shown + repr(providers._access)


def test_the_matrix(catalogue: Catalogue) -> None:
    rows = {row["provider"]: row for row in registry(catalogue, OPENAI_API_KEY=KEY, OPENAI_MODEL="new-model").matrix()}
    new = rows["openai"]["models"][0]
    assert (new["name"], new["price"], new["capabilities"]["context_tokens"]) == ("new-model", None, None)
    assert rows["extractive"]["location"] == "embedded"
    assert "OPENROUTER_API_KEY" in rows["openrouter"]["reason"]
    assert not rows["openrouter"]["usable"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("providers: [", "not valid YAML"),
        ("models: []", "providers"),
        ("providers: []", "at least 1"),
        ("providers:\n  - {name: x, family: ftp, location: cloud}", "entry 1 (x), family"),
        ("providers:\n  - {name: x, family: ollama, location: local, default_model: m}", "entry 1 (x): give base_url"),
        (f"providers:\n  - {{name: x, family: extractive, location: embedded, api_key: {KEY}}}", "unknown key"),
        (f"providers:\n{TWICE}{TWICE}", "twice: e"),
    ],
)  # fmt: skip
def test_a_wrong_catalogue_says_where_and_what(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "providers.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as wrong:
        load_catalogue(path)
    assert said in wrong.value.message
    assert str(path) in wrong.value.message
    assert KEY not in wrong.value.message


def test_a_missing_catalogue(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CONSILIUM_PROVIDERS_FILE"):
        load_catalogue(tmp_path / "none.yaml")


def test_importing_the_registry_loads_no_vendor() -> None:
    code = (
        "import sys, providers.registry, providers.stream, providers.route; "
        "print([m for m in sys.modules if m.startswith(('langchain', 'openai', 'ollama', 'httpx'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
