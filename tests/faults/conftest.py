"""Three scripted providers, one a wire, and a server that knows nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph_sdk.client import LangGraphClient

from domain.catalogue import load_catalogue
from domain.settings import ROOT
from providers.admission import Admission
from providers.breaker import Breakers
from providers.caller import Caller
from providers.estimate import OutputEstimates
from providers.latency import Latencies
from providers.registry import Providers
from retrieval.analyse import analyse
from storage.breakers import BreakerStore
from storage.database import Database
from storage.invariants import violations
from storage.model_calls import ModelCalls
from storage.quota import QuotaLedger
from tests.serving import Served, serve, settings_for
from tests.upstream.reply import fixed
from tests.upstream.server import Upstream

WIRES = ["openai", "ollama", "anthropic"]
KEY = "sk-a-key-that-must-not-be-seen-anywhere"
CATALOGUE = """
providers:
  - name: openai
    family: openai_compatible
    location: cloud
    base_url_env: OPENAI_BASE_URL
    api_key_env: OPENAI_API_KEY
    default_model: scripted-o
    defaults: {{tools: true}}
    timeouts: {timeouts}
  - name: ollama
    family: ollama
    location: local
    base_url_env: OLLAMA_BASE_URL
    api_key_required: false
    default_model: scripted-l
    max_concurrency: 8
    defaults: {{tools: true}}
    timeouts: {timeouts}
  - name: anthropic
    family: anthropic
    location: cloud
    base_url_env: ANTHROPIC_BASE_URL
    api_key_env: ANTHROPIC_API_KEY
    default_model: scripted-a
    defaults: {{tools: true}}
    timeouts: {timeouts}
"""
IMPATIENT = "{connect: 20, first_token: 4, between_tokens: 1.2, total: 15}"
"""A connection is had in time also where the machine is busy: then every attempt is a request that its provider got."""
Serving = Callable[..., AbstractAsyncContextManager[Served]]
Calling = Callable[[dict[str, str], Admission], tuple[Caller, Providers]]


@dataclass(frozen=True)
class Read:
    """What a reader of a run has in the end: the text that was not taken back, or the error."""

    text: str | None
    error: dict[str, Any] | None
    retractions: int


async def read_turn(sdk: LangGraphClient, thread_id: str, question: str, context: dict[str, Any] | None = None) -> Read:
    """A turn as it streams. Asserts that the reader is left with one answer."""
    shown: dict[str, str] = {}
    error, retractions = None, 0
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": question}]}
    async for part in sdk.runs.stream(
        thread_id, "supervisor", input=asked, context=context or {}, stream_mode=["messages-tuple", "custom"]
    ):
        if part.event == "error":
            error = part.data
        elif part.event == "custom":
            retractions += part.data["type"] == "retraction"
        elif part.event == "messages" and part.data[0]["type"] == "remove":
            del shown[part.data[0]["id"]]
        elif part.event == "messages" and part.data[0]["type"] in ("AIMessageChunk", "ai"):
            message = part.data[0]
            shown[message["id"]] = shown.get(message["id"], "") + str(message["content"])
    spoken = [text for text in shown.values() if text]
    if error is not None:
        return Read(None, error, retractions)
    assert len(spoken) == 1, f"the reader has one answer: {spoken}"
    return Read(spoken[0], None, retractions)


def text_of(message: dict[str, Any]) -> str:
    """The text of a message of the API, in blocks or not."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


@pytest.fixture
def three() -> Iterator[dict[str, Upstream]]:
    """A scripted provider a wire, by the provider's name."""
    with ExitStack() as stack:
        yield {wire: stack.enter_context(Upstream(fixed("nothing was scripted"))) for wire in WIRES}


@pytest.fixture
def serving_three(
    three: dict[str, Upstream], owner_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Serving:
    """Start a server whose only models are the three; `timeouts` is the catalogue's YAML."""

    @asynccontextmanager
    async def start(timeouts: str = IMPATIENT, **environ: str) -> AsyncIterator[Served]:
        monkeypatch.setenv("OPENAI_BASE_URL", three["openai"].openai_url)
        monkeypatch.setenv("OLLAMA_BASE_URL", three["ollama"].url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", three["anthropic"].url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        catalogue = tmp_path / "providers.yaml"
        catalogue.write_text(CATALOGUE.format(timeouts=timeouts), "utf-8")
        async with serve(
            settings_for(owner_dsn, tmp_path, CONSILIUM_PROVIDERS_FILE=str(catalogue), **environ)
        ) as served:
            yield served

    return start


@pytest.fixture
async def calling(db: Database) -> AsyncIterator[Calling]:
    """A caller over the project's catalogue, with the providers of this environment and these places."""
    made: list[Providers] = []

    def make(environ: dict[str, str], admission: Admission) -> tuple[Caller, Providers]:
        providers = Providers(load_catalogue(ROOT / "config" / "providers.yaml"), environ, analyse)
        made.append(providers)
        caller = Caller(
            ledger=QuotaLedger(db),
            calls=ModelCalls(db),
            breakers=Breakers(BreakerStore(db)),
            admission=admission,
            latencies=Latencies(),
            estimates=OutputEstimates(),
            output_tokens=50,
        )
        return caller, providers

    yield make
    for providers in made:
        await providers.aclose()


@pytest.fixture(autouse=True)
def sound(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the test did to it, the database holds what it must hold."""
    dsn = request.getfixturevalue("owner_dsn") if "owner_dsn" in request.fixturenames else None
    yield
    if dsn is not None:
        assert violations(dsn) == []


async def waits_for_lock(owner_dsn: str) -> None:
    """Until a statement waits for a lock that somebody else holds."""
    async with asyncio.timeout(10), await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as conn:
        while True:
            cursor = await conn.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if await cursor.fetchone() != (0,):
                return
            await asyncio.sleep(0.01)
