"""The scripted model server, and the project's own catalogue over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from domain.catalogue import Catalogue, load_catalogue
from providers.registry import Providers
from retrieval.analyse import analyse
from tests.upstream.reply import fixed
from tests.upstream.server import Upstream

CATALOGUE = Path(__file__).parents[2] / "config/providers.yaml"


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return load_catalogue(CATALOGUE)


@pytest.fixture
def server() -> Iterator[Upstream]:
    """Says one sentence, until given another policy."""
    with Upstream(fixed("The ", "answer ", "is ", "42.")) as upstream:
        yield upstream


@pytest.fixture
async def providers(catalogue: Catalogue, server: Upstream) -> AsyncIterator[Providers]:
    """OpenAI and Ollama, both over the scripted server."""
    environ = {
        "OPENAI_BASE_URL": server.openai_url,
        "OPENAI_API_KEY": "sk-secret-key",
        "OLLAMA_BASE_URL": server.url,
    }
    providers = Providers(catalogue, environ, analyse)
    yield providers
    await providers.aclose()
