"""A request that never gets an answer: how long it is waited for, and what it is charged."""

from __future__ import annotations

import asyncio
import socket

import pytest
from langchain_core.messages import HumanMessage

from domain.catalogue import Catalogue, ModelSpec
from domain.errors import ProviderError, ProviderProtocolError, ProviderRejected, ProviderUnavailable
from domain.usage import Usage, UsageSource, estimate_tokens
from providers.embedding import BATCH_TEXTS
from providers.meter import Meter
from providers.registry import Providers
from providers.stream import stream_chat
from providers.wire import framing, openai_http
from retrieval.analyse import analyse
from tests.upstream.embeddings import tokens as counted
from tests.upstream.reply import Call, Reply, fixed
from tests.upstream.server import STALL_SECONDS, Fault, Planned, Upstream

WIRES = ["openai", "ollama", "anthropic"]
PROMPT = 321
NOTHING = Usage(0, 0, "estimated")
TEXTS = [f"text {n}" for n in range(BATCH_TEXTS + 10)]


async def ask(providers: Providers, wire: str, meter: Meter) -> str:
    """The answer to one attempt."""
    said = ""
    async for chunk in stream_chat(
        providers.chat(wire), wire, [HumanMessage("?")], tools=None, known_tools=set(), meter=meter
    ):
        said += chunk.text
    return said


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("impatient", [{"first_token": 0.3}], indirect=True)
async def test_an_answer_that_never_begins_is_waited_for_as_the_first_token(
    impatient: Providers, server: Upstream, wire: str
) -> None:
    server.fail("silent")
    impatient.chat(wire)
    meter = Meter(PROMPT)
    with pytest.raises(ProviderUnavailable) as stalled:
        async with asyncio.timeout(STALL_SECONDS - 5):
            await ask(impatient, wire, meter)
    assert stalled.value.details["reason"] == "stalled"
    assert meter.usage() == Usage(PROMPT, 0, "estimated")


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["reset", "gateway_timeout"])
async def test_the_prompt_of_a_request_that_was_cut_is_charged_as_estimated(
    providers: Providers, server: Upstream, wire: str, fault: Fault
) -> None:
    """Nobody knows whether the provider has counted it."""
    server.fail(fault)
    meter = Meter(PROMPT)
    with pytest.raises(ProviderUnavailable):
        await ask(providers, wire, meter)
    assert meter.usage() == Usage(PROMPT, 0, "estimated")


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["rate_limit", "server_error", "unauthorized", "bad_request", "html"])
async def test_a_refusal_costs_nothing(providers: Providers, server: Upstream, wire: str, fault: Fault) -> None:
    server.fail(fault)
    meter = Meter(PROMPT)
    with pytest.raises(ProviderError):
        await ask(providers, wire, meter)
    assert meter.usage() == NOTHING
    assert not meter.begun


@pytest.mark.parametrize("wire", WIRES)
async def test_who_could_not_be_reached_has_counted_nothing(catalogue: Catalogue, wire: str) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # and doesn't listen
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        environ = {f"{wire.upper()}_BASE_URL": url, f"{wire.upper()}_API_KEY": "sk-secret-key"}
        providers, meter = Providers(catalogue, environ, analyse), Meter(PROMPT)
        with pytest.raises(ProviderUnavailable) as away:
            await ask(providers, wire, meter)
        await providers.aclose()
    assert away.value.details["reason"] == "connection"
    assert meter.usage() == NOTHING


@pytest.mark.parametrize("wire", WIRES)
async def test_who_leaves_before_the_answer_begins_is_charged_the_prompt(
    providers: Providers, server: Upstream, wire: str
) -> None:
    server.fail("silent")
    meter = Meter(PROMPT)
    asking = asyncio.create_task(ask(providers, wire, meter))
    async with asyncio.timeout(10):
        while not server.requests:
            await asyncio.sleep(0.005)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert meter.usage() == Usage(PROMPT, 0, "estimated")


@pytest.mark.parametrize("wire", WIRES)
async def test_the_end_of_an_errors_text_is_not_waited_for(
    providers: Providers, server: Upstream, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_http, "ERROR_SECONDS", 0.2)
    server.fail("half_error")
    providers.chat(wire)  # the vendor's package takes its time, the first time
    with pytest.raises(ProviderRejected) as refused:
        async with asyncio.timeout(STALL_SECONDS - 5):
            await ask(providers, wire, Meter(PROMPT))
    assert refused.value.details["reason"] == "key"


async def test_a_server_that_does_not_stream_is_heard(providers: Providers, server: Upstream) -> None:
    server.streams = False
    server.policy = fixed("in ", "one ", "piece")
    meter = Meter(PROMPT)
    assert await ask(providers, "openai", meter) == "in one piece"
    assert meter.usage() == Usage(10, 5, "provider")
    server.policy = lambda body: Reply(calls=[Call("search", "{")])
    with pytest.raises(ProviderProtocolError) as odd:
        await ask(providers, "openai", Meter(PROMPT))
    assert odd.value.details["reason"] == "unknown_tool"


async def test_an_answer_in_one_piece_is_bounded(
    providers: Providers, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "LONGEST", 10_000)
    server.streams = False
    server.policy = fixed("x" * 20_000)
    with pytest.raises(ProviderProtocolError) as long:
        await ask(providers, "openai", Meter(PROMPT))
    assert long.value.details["reason"] == "too_long"


@pytest.mark.parametrize(
    ("fault", "source"), [("reset", "estimated"), ("silent", "estimated"), ("rate_limit", "provider")]
)
@pytest.mark.parametrize("impatient", [{"first_token": 0.3}], indirect=True)
async def test_of_embeddings_the_batch_that_was_cut_is_charged_as_estimated(
    impatient: Providers, server: Upstream, fault: Fault, source: UsageSource
) -> None:
    """Of two batches the second fails."""
    server.plan = lambda number, body: Planned(fault, 0, None) if number else None
    meter = Meter(0)
    with pytest.raises(ProviderError):
        await impatient.embedder("openai").embed(ModelSpec(name="embedder"), TEXTS, None, meter)
    answered, cut = TEXTS[:BATCH_TEXTS], TEXTS[BATCH_TEXTS:]
    expected = counted(answered) + (sum(map(estimate_tokens, cut)) if source == "estimated" else 0)
    assert meter.usage() == Usage(expected, 0, source)
