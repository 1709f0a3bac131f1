"""What the environment says of the way to a provider. The scripted server takes the part of a proxy, too: it answers any host."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from domain.catalogue import Catalogue
from providers.meter import Meter
from providers.registry import Providers
from retrieval.analyse import analyse
from tests.upstream.server import Upstream

NOWHERE = "http://127.0.0.1:9"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "?"}]}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


async def ask(catalogue: Catalogue, base_url: str, key: str = "sk-secret-key") -> str:
    providers = Providers(catalogue, {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": key}, analyse)
    try:
        chunks = [chunk async for chunk in providers.endpoint("openai").stream(BODY, Meter(1))]
    finally:
        await providers.aclose()
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk.get("choices", ()))


async def test_a_request_goes_through_the_proxy_with_its_password(
    catalogue: Catalogue, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url.replace("://", "://name:word@"))
    assert await ask(catalogue, "http://models.invalid/v1") == "The answer is 42."
    [headers] = server.headers
    assert headers["host"] == "models.invalid"
    assert headers["authorization"] == "Bearer sk-secret-key"
    assert headers["proxy-authorization"] == "Basic " + base64.b64encode(b"name:word").decode()


async def test_a_host_without_proxy_is_asked_itself(
    catalogue: Catalogue, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", NOWHERE)
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    assert await ask(catalogue, server.openai_url) == "The answer is 42."


async def test_a_netrc_does_not_stand_in_the_way_of_the_key(
    catalogue: Catalogue, server: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert await ask(catalogue, server.openai_url) == "The answer is 42."
    assert server.headers[0]["authorization"] == "Bearer sk-secret-key"
