"""`/v1/embeddings` with the official client, over both wires, cached and booked; `/v1/similarity`; what wrong providers send."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import openai
import psycopg
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from domain.catalogue import Capabilities, ModelSpec, Timeouts
from domain.errors import ProviderProtocolError, ProviderUnavailable
from providers.embedding import BATCH_TEXTS, EmbeddingEndpoint, batches, cosine_matrix, cosine_pairs
from providers.meter import Meter
from providers.wire.http import Http
from storage.invariants import violations
from tests.acceptance.conftest import Serving, serving
from tests.serving import Served
from tests.upstream.embeddings import tokens, vector
from tests.upstream.reply import fixed
from tests.upstream.server import Upstream

__all__ = ["serving"]
TEXTS = ["A letter of credit", "Аккредитив банка", "A letter"]
MODELS = {"openai": ("text-embedding-3-small", 1536), "ollama": ("qwen3-embedding:0.6b", 1024)}


def client(server: Served, **who: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.token(**who), max_retries=0, timeout=30)


def entries(owner_dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(owner_dsn) as conn:
        return conn.execute(
            "SELECT provider, model, agent, purpose, prompt, completion, source FROM usage_ledger ORDER BY created_at"
        ).fetchall()


@pytest.mark.parametrize("wire", MODELS)
async def test_texts_have_vectors_and_a_price(serving: Serving, upstream: Upstream, wire: str, owner_dsn: str) -> None:
    model, size = MODELS[wire]
    async with serving(upstream, wire) as server:
        asking = client(server)
        # the client asks for base64 where it isn't told otherwise
        packed = await asking.embeddings.create(model=f"{wire}/{model}", input=TEXTS)
        plain = await asking.embeddings.create(model=model, input=TEXTS, encoding_format="float")
        one = await asking.embeddings.create(model=model, input=TEXTS[0], dimensions=8)
    assert [row.index for row in packed.data] == [0, 1, 2]
    assert [row.embedding for row in packed.data] == [vector(text, size) for text in TEXTS]
    assert [row.embedding for row in plain.data] == [row.embedding for row in packed.data]
    assert one.data[0].embedding == vector(TEXTS[0], 8)
    assert packed.model == model
    assert packed.usage.prompt_tokens == packed.usage.total_tokens == tokens(TEXTS)
    assert plain.usage.total_tokens == 0  # known from before
    assert [request["input"] for request in upstream.requests] == [TEXTS, TEXTS[:1]]
    assert upstream.requests[1]["dimensions"] == 8
    booked = (wire, model, "embeddings", "embed")
    assert entries(owner_dsn) == [(*booked, tokens(TEXTS), 0, "provider"), (*booked, tokens(TEXTS[:1]), 0, "provider")]
    assert violations(owner_dsn) == []


async def test_only_what_is_new_is_asked_for(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server:
        asking = client(server)
        await asking.embeddings.create(model="auto", input=["one", "two"])
        again = await asking.embeddings.create(model="auto", input=["two", "three", "one", "three"])
        other = await client(server, organization="globex").embeddings.create(model="auto", input=["one"])
    assert [request["input"] for request in upstream.requests] == [["one", "two"], ["three"], ["one"]]
    assert [row.embedding for row in again.data] == [vector(text, 1536) for text in ("two", "three", "one", "three")]
    assert again.usage.total_tokens == 1
    assert other.usage.total_tokens == 1


async def test_the_cache_can_be_off(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream, CONSILIUM_EMBEDDING_CACHE_SECONDS="0") as server:
        for _ in range(2):
            await client(server).embeddings.create(model="auto", input="one")
    assert len(upstream.requests) == 2


async def test_the_cache_is_swept(serving: Serving, upstream: Upstream, owner_dsn: str) -> None:
    async with serving(upstream) as server:
        await client(server).embeddings.create(model="auto", input=["one", "two"])
        with psycopg.connect(owner_dsn) as conn:
            conn.execute("UPDATE embedding_cache SET expires_at = now() - interval '1 second'")
        await client(server).embeddings.create(model="auto", input=["one"])
        assert await server.state.services.embedder.sweep() == 1
        assert await server.state.services.embedder.sweep() == 0
    assert [request["input"] for request in upstream.requests] == [["one", "two"], ["one"]]


async def test_many_texts_go_in_batches(serving: Serving, upstream: Upstream) -> None:
    texts = [f"text number {n}" for n in range(BATCH_TEXTS * 2 + 1)]
    async with serving(upstream) as server:
        made = await client(server).embeddings.create(model="auto", input=texts, dimensions=4)
    assert [len(request["input"]) for request in upstream.requests] == [BATCH_TEXTS, BATCH_TEXTS, 1]
    assert [row.embedding for row in made.data] == [vector(text, 4) for text in texts]
    assert made.usage.total_tokens == tokens(texts)


async def test_local_comes_first_and_a_failed_one_is_replaced(
    serving: Serving, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Upstream(fixed()) as cloud, Upstream(fixed()) as local:
        monkeypatch.setenv("VLLM_BASE_URL", local.openai_url)
        monkeypatch.setenv("VLLM_MODEL", "llama")
        monkeypatch.setenv("VLLM_EMBED_MODEL", "bge-m3")
        async with serving(cloud) as server:
            asking = client(server)
            await asking.embeddings.create(model="auto", input=["one"])
            # one of the two is known from the local model: the cloud's embeds both all the same
            local.fail("server_error", times=9)
            first = await asking.embeddings.create(model="auto", input=["one", "two"])
            local.heal()
            second = await asking.embeddings.create(model="auto", input=["two"])
            # a model that is named is not replaced by another: their vectors can't be compared
            local.fail("server_error", times=9)
            with pytest.raises(openai.InternalServerError):
                await asking.embeddings.create(model="bge-m3", input=["three"])
    assert first.model == "text-embedding-3-small"
    assert len(first.data[0].embedding) == 1536
    assert cloud.requests[0]["input"] == ["one", "two"]
    assert second.model == "bge-m3"
    assert len(second.data[0].embedding) == 1024
    assert len(cloud.requests) == 1
    assert violations(owner_dsn) == []


async def test_without_a_model_that_embeds(serving: Serving, upstream: Upstream) -> None:
    async with serving(None, None) as server:
        with pytest.raises(openai.UnprocessableEntityError) as none:
            await client(server).embeddings.create(model="auto", input="one")
        with pytest.raises(openai.NotFoundError) as unknown:
            await client(server).embeddings.create(model="nonesuch", input="one")
    assert none.value.code == "no_provider"
    assert "OLLAMA_BASE_URL" in none.value.message
    assert unknown.value.code == "model_not_found"
    async with serving(upstream) as server:
        with pytest.raises(openai.UnprocessableEntityError) as chats:
            await client(server).embeddings.create(model="openai/gpt-4o", input="one")
        # what the catalogue doesn't list may well make embeddings
        made = await client(server).embeddings.create(model="openai/text-embedding-of-mine", input="one")
    assert "no embeddings" in chats.value.message
    assert len(made.data[0].embedding) == 1024


async def test_the_days_tokens(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream, CONSILIUM_DAILY_TOKENS="3") as server:
        with pytest.raises(openai.RateLimitError) as refused:
            await client(server).embeddings.create(model="auto", input=["one two three four five six"])
    assert refused.value.code == "insufficient_quota"
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input[0]"),
        ({"input": ["a", " "]}, "input[1]"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": True}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "model": None}, "model"),
        ({"input": "a", "model": 7}, "model"),
    ],
)
async def test_a_wrong_request_names_its_parameter(server: Served, sent: dict[str, Any], param: str) -> None:
    async with server.http() as http:
        answer = await http.post("/v1/embeddings", json={"model": "auto", **sent})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == param


# Similarity


async def test_similar_texts(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server, server.http() as http:
        pairs = await http.post(
            "/v1/similarity", json={"pairs": [["a b", "a b"], ["a b", "a c"], ["a", "b"]], "model": "auto"}
        )
        square = await http.post("/v1/similarity", json={"texts": ["a b", "a c"]})
        oblong = await http.post("/v1/similarity", json={"left": ["a b"], "right": ["a b", "b c", "c"]})
    told = pairs.json()
    assert told["object"] == "similarity"
    assert told["model"] == "text-embedding-3-small"
    assert told["similarities"] == pytest.approx([1.0, 0.5, 0.0])
    assert told["usage"]["total_tokens"] == 6  # "a b", "a c", "a", "b"
    assert square.json()["matrix"] == [pytest.approx([1.0, 0.5]), pytest.approx([0.5, 1.0])]
    assert square.json()["usage"]["total_tokens"] == 0
    assert oblong.json()["matrix"] == [pytest.approx([1.0, 0.5, 0.0])]


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "body"),
        ({"texts": ["a"], "pairs": [["a", "b"]]}, "body"),
        ({"left": ["a"]}, "right"),
        ({"pairs": [["a"]]}, "pairs[0]"),
        ({"pairs": [["a", ""]]}, "pairs[0][1]"),
        ({"texts": ["a"] * 513}, "texts"),
    ],
)
async def test_a_wrong_question_of_similarity(server: Served, sent: dict[str, Any], field: str) -> None:
    async with server.http() as http:
        answer = await http.post("/v1/similarity", json=sent)
    assert answer.status_code == 422
    assert answer.json()["details"]["field"] == field


def test_cosines() -> None:
    left = [np.array(v, dtype=np.float32) for v in ([1, 0], [0, 0], [3e38, 3e38])]
    assert cosine_matrix(left, left[:1]).tolist() == [[1.0], [0.0], [pytest.approx(math.sqrt(0.5))]]
    assert cosine_pairs(left, left).tolist() == [1.0, 0.0, pytest.approx(1.0)]


def test_batches_keep_all_texts_in_order() -> None:
    texts = ["x" * 170_000, "y" * 170_000, "z", *(str(n) for n in range(BATCH_TEXTS))]
    made = list(batches(texts))
    assert [text for batch in made for text in batch] == texts
    assert all(len(batch) <= BATCH_TEXTS for batch in made)
    assert [len(batch) for batch in made][:2] == [1, BATCH_TEXTS]


# What providers send


@asynccontextmanager
async def answering(value: Any, *, status: int = 200) -> AsyncIterator[EmbeddingEndpoint]:
    """The endpoint of a provider that answers so."""

    async def answer(request: web.Request) -> web.Response:
        if isinstance(value, bytes):
            return web.Response(status=status, body=value)
        return web.json_response(value, status=status)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    http = Http(5)
    try:
        address = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield EmbeddingEndpoint(http, "openai_compatible", "p", address, None, None, Timeouts())
    finally:
        await http.aclose()
        await runner.cleanup()


def rows(*vectors: Any) -> dict[str, Any]:
    return {"data": [{"index": n, "embedding": one} for n, one in enumerate(vectors)], "usage": {"prompt_tokens": 3}}


MODEL = ModelSpec(name="m", capabilities=Capabilities(embeddings=True))


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (rows([1, 2]), "count"),
        (rows([1, 2], [1, 2], [1, 2]), "count"),
        (rows([1, 2], [1, 2, 3]), "dimensions"),
        (rows([1, 2], []), "malformed"),
        (rows([1, 2], None), "malformed"),
        (rows([1, 2], ["a", "b"]), "malformed"),
        (rows([1, 2], [[1], [2]]), "malformed"),
        (rows([1, 2], "not base64"), "malformed"),
        (rows([1, 2], [1e39, 0]), "malformed"),
        ({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}, "malformed"),
        ({"data": ["x", "y"]}, "malformed"),
        ([], "malformed"),
        ({}, "count"),
        (b"<html>Please sign in</html>", "bad_json"),
    ],
)
async def test_what_is_no_embedding_is_an_error(sent: Any, reason: str) -> None:
    async with answering(sent) as endpoint:
        with pytest.raises(ProviderProtocolError) as failed:
            await endpoint.embed(MODEL, ["one", "two"], None, Meter(9))
    assert failed.value.details["reason"] == reason


async def test_the_models_own_dimensions_are_checked() -> None:
    model = ModelSpec(name="m", capabilities=Capabilities(embeddings=True, dimensions=3))
    async with answering(rows([1, 2])) as endpoint:
        with pytest.raises(ProviderProtocolError) as failed:
            await endpoint.embed(model, ["one"], None, Meter(9))
        assert [v.tolist() for v in await endpoint.embed(model, ["one"], 2, Meter(9))] == [[1.0, 2.0]]
    assert failed.value.details["reason"] == "dimensions"


async def test_rows_in_another_order_and_packed() -> None:
    packed = base64.b64encode(np.array([5, 6], dtype="<f4").tobytes()).decode()
    sent = {"data": [{"index": 1, "embedding": packed}, {"index": 0, "embedding": [1, 2]}]}
    meter = Meter(9)
    async with answering(sent) as endpoint:
        made = await endpoint.embed(MODEL, ["one", "two"], None, meter)
    assert [v.tolist() for v in made] == [[1.0, 2.0], [5.0, 6.0]]
    # a provider that tells no usage is not free
    assert meter.usage().source == "estimated"
    assert meter.usage().prompt > 0


async def test_an_answer_that_breaks_off_is_charged_all_the_same() -> None:
    meter = Meter(9)
    async with answering(b'{"data": [') as endpoint:
        with pytest.raises(ProviderProtocolError):
            await endpoint.embed(MODEL, ["one", "two"], None, meter)
    assert meter.begun
    assert meter.usage().prompt > 0
    refused = Meter(9)
    async with answering({"error": "x"}, status=500) as endpoint:
        with pytest.raises(ProviderUnavailable):
            await dataclasses.replace(endpoint, family="ollama").embed(MODEL, ["one"], None, refused)
    assert not refused.begun
