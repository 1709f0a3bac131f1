"""The scripted model server, and the project's own catalogue over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from domain.catalogue import Catalogue, Timeouts, load_catalogue
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


def environment(server: Upstream) -> dict[str, str]:
    """OpenAI, Ollama and Anthropic, all of them the scripted server."""
    return {
        "OPENAI_BASE_URL": server.openai_url,
        "OPENAI_API_KEY": "sk-secret-key",
        "OLLAMA_BASE_URL": server.url,
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "sk-secret-key",
    }


@pytest.fixture
async def providers(catalogue: Catalogue, server: Upstream) -> AsyncIterator[Providers]:
    """The three wires over the scripted server."""
    providers = Providers(catalogue, environment(server), analyse)
    yield providers
    await providers.aclose()


@pytest.fixture
async def impatient(catalogue: Catalogue, server: Upstream, request: pytest.FixtureRequest) -> AsyncIterator[Providers]:
    """The same with these deadlines."""
    timeouts = Timeouts(**request.param)
    hurried = [spec.model_copy(update={"timeouts": timeouts}) for spec in catalogue.providers]
    providers = Providers(Catalogue(providers=tuple(hurried)), environment(server), analyse)
    yield providers
    await providers.aclose()
