"""The stream validator over real HTTP: what a provider may do wrong, and what it becomes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage

from domain.catalogue import Catalogue
from domain.errors import (
    ProviderError,
    ProviderProtocolError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)
from domain.ids import ChunkId, DocumentId
from domain.knowledge import Source
from domain.sources import render_sources
from providers.meter import Meter
from providers.registry import Providers
from providers.stream import stream_chat
from retrieval.analyse import analyse
from tests.upstream.reply import Call, Reply, competent, fixed
from tests.upstream.server import Upstream
from tests.upstream.wires import openai_sse

SEARCH = {
    "type": "function",
    "function": {
        "name": "search_documents",
        "description": "Search.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}
QUERY = Call("search_documents", json.dumps({"query": "неустойка за просрочку поставки"}, ensure_ascii=False), "call_7")
WIRES = ["openai", "ollama", "anthropic"]


async def collect(providers: Providers, wire: str, *, tools: bool = False, **kwargs: Any) -> AIMessageChunk:
    whole: AIMessageChunk | None = None
    async for chunk in stream_chat(
        providers.chat(wire),
        wire,
        kwargs.pop("messages", [HumanMessage("What is the answer?")]),
        tools=[SEARCH] if tools else None,
        known_tools={"search_documents"} if tools else set(),
        **kwargs,
    ):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


@pytest.mark.parametrize("wire", WIRES)
async def test_a_whole_answer(providers: Providers, wire: str) -> None:
    answer = await collect(providers, wire)
    assert answer.text == "The answer is 42."
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (10, 5)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_tool_call(providers: Providers, server: Upstream, wire: str) -> None:
    server.policy = lambda body: Reply(calls=[QUERY])
    answer = await collect(providers, wire, tools=True)
    [call] = answer.tool_calls
    assert (call["name"], call["args"]) == ("search_documents", {"query": "неустойка за просрочку поставки"})
    assert call["id"]
    [offered] = server.requests[0]["tools"]
    assert offered.get("function", offered)["name"] == "search_documents"


async def test_parallel_tool_calls(providers: Providers, server: Upstream) -> None:
    other = Call("search_documents", '{"query": "b"}', "call_8")
    server.policy = lambda body: Reply(calls=[QUERY, other])
    assert [call["id"] for call in (await collect(providers, "openai", tools=True)).tool_calls] == ["call_7", "call_8"]


async def test_reasoning_is_kept_where_the_class_gives_it(providers: Providers, server: Upstream) -> None:
    server.policy = fixed("42", reasoning=["I ", "think"])
    for wire in ("openai", "ollama"):
        assert (await collect(providers, wire)).additional_kwargs["reasoning_content"] == "I think"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["eof", "bad_json"])
async def test_a_stream_without_a_finish_is_no_answer(
    providers: Providers, server: Upstream, wire: str, fault: Any
) -> None:
    server.fail(fault)
    with pytest.raises(ProviderProtocolError) as broken:
        await collect(providers, wire)
    assert broken.value.details["reason"] == {"eof": "no_finish", "bad_json": "bad_json"}[fault]


@pytest.mark.parametrize("fault", ["no_index", "repeated_names"])
async def test_a_tool_call_that_can_be_mended_is_whole(providers: Providers, server: Upstream, fault: Any) -> None:
    server.policy = lambda body: Reply(calls=[QUERY])
    server.fail(fault, after=1000)
    [call] = (await collect(providers, "openai", tools=True)).tool_calls
    assert (call["name"], call["args"], call["id"]) == ("search_documents", json.loads(QUERY.arguments), QUERY.id)


@pytest.mark.parametrize("fault", ["eof_in_arguments", "length_in_arguments", "empty_id"])
async def test_a_damaged_tool_call_is_never_let_through(providers: Providers, server: Upstream, fault: Any) -> None:
    server.policy = lambda body: Reply(calls=[QUERY])
    server.fail(fault)
    with pytest.raises(ProviderProtocolError):
        await collect(providers, "openai", tools=True)


@pytest.mark.parametrize(
    "arguments",
    [
        '{"query": "a"',
        '{"query": NaN}',
        '{"query": 1e999}',
        '{"query": 9223372036854775808}',
        '{"query": ' + "[" * 100_000,
        "[1]",
        "null",
        '{"query": "a"} extra',
        "{'query': 'a'}",
    ],
    ids=lambda arguments: arguments[:30],
)
async def test_arguments_must_be_a_strict_json_object(providers: Providers, server: Upstream, arguments: str) -> None:
    server.policy = lambda body: Reply(calls=[Call("search_documents", arguments)])
    with pytest.raises(ProviderProtocolError) as broken:
        await collect(providers, "openai", tools=True)
    assert broken.value.details["reason"] == "bad_arguments"


@pytest.mark.parametrize("wire", WIRES)
async def test_an_unknown_tool(providers: Providers, server: Upstream, wire: str) -> None:
    server.policy = lambda body: Reply(calls=[Call("delete_everything", "{}")])
    with pytest.raises(ProviderProtocolError) as broken:
        await collect(providers, wire, tools=True)
    assert broken.value.details["reason"] == "unknown_tool"


@pytest.mark.parametrize("wire", WIRES)
async def test_rate_limit_says_how_long(providers: Providers, server: Upstream, wire: str) -> None:
    server.fail("rate_limit", retry_after=7)
    with pytest.raises(ProviderRateLimited) as limited:
        await collect(providers, wire)
    assert limited.value.details["retry_after"] == 7.0
    assert len(server.requests) == 1, "the client must not retry by itself"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("server_error", ProviderUnavailable),
        ("reset", ProviderUnavailable),
        ("reset_midway", ProviderUnavailable),
        ("unauthorized", ProviderRejected),
        ("not_found", ProviderRejected),
        ("bad_request", ProviderRejected),
        ("html", ProviderProtocolError),
    ],
)
async def test_failures_in_our_words(
    providers: Providers, server: Upstream, wire: str, fault: Any, error: type[ProviderError]
) -> None:
    server.fail(fault)
    with pytest.raises(error) as failed:
        await collect(providers, wire)
    assert "sk-secret-key" not in failed.value.message + str(failed.value.details)
    assert len(server.requests) == 1


@pytest.mark.parametrize("wire", WIRES)
async def test_what_came_before_the_connection_broke_is_counted(
    providers: Providers, server: Upstream, wire: str
) -> None:
    server.policy = fixed(*["x" * 30] * 40)
    server.fail("reset_midway", after=21)
    meter = Meter(10)
    with pytest.raises(ProviderUnavailable):
        await collect(providers, wire, meter=meter)
    # of the chunks, those that tell of the role and the like are none of the answer
    assert 180 <= meter.usage().completion <= 210


@pytest.mark.parametrize("wire", WIRES)
async def test_a_whole_answer_stays_whole_however_its_connection_ends(
    providers: Providers, server: Upstream, wire: str
) -> None:
    server.fail("reset_at_end")
    answer = await collect(providers, wire)
    assert answer.text == "The answer is 42."
    assert answer.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("whole", [True, False])
async def test_chunks_that_can_not_be_parsed(catalogue: Catalogue, whole: bool) -> None:
    """Of an answer that is whole before they come nothing is lost; any other is the provider's failure."""
    deltas = list(openai_sse(Reply(["The ", "answer."]), "m", usage=False))
    sent = deltas[1:] if whole else deltas[1:-1]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + framed(deltas[:1]))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(framed(sent) + b"no length\r\n")
        await reader.read()
        writer.close()

    def framed(chunks: list[bytes]) -> bytes:
        return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)

    broken = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{broken.sockets[0].getsockname()[1]}/v1"
    providers = Providers(catalogue, {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-secret-key"}, analyse)
    try:
        if whole:
            assert (await collect(providers, "openai")).text == "The answer."
        else:
            with pytest.raises(ProviderUnavailable):
                await collect(providers, "openai")
    finally:
        await providers.aclose()
        broken.close()


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["stall", "keepalives"])
@pytest.mark.parametrize("impatient", [{"between_tokens": 0.2}], indirect=True)
async def test_silence_is_bounded_and_keepalives_are_silence(
    impatient: Providers, server: Upstream, wire: str, fault: Any
) -> None:
    server.fail(fault, after=5 if wire == "anthropic" else 3)
    with pytest.raises(ProviderUnavailable) as stalled:
        await collect(impatient, wire)
    assert stalled.value.details["reason"] == "stalled"
    assert "further" in stalled.value.message


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("impatient", [{"first_token": 0.2}], indirect=True)
async def test_the_first_token_has_its_own_limit(impatient: Providers, server: Upstream, wire: str) -> None:
    server.fail("keepalives", after=0)
    with pytest.raises(ProviderUnavailable) as stalled:
        await collect(impatient, wire)
    assert "no token" in stalled.value.message


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("impatient", [{"total": 0.3}], indirect=True)
async def test_the_whole_answer_has_a_limit(impatient: Providers, server: Upstream, wire: str) -> None:
    server.policy, server.chunk_seconds = fixed(*["word "] * 50), 0.05
    with pytest.raises(ProviderUnavailable) as late:
        await collect(impatient, wire)
    assert late.value.details["reason"] == "timeout"


@pytest.mark.parametrize("wire", WIRES)
async def test_deltas_are_merged_and_the_first_goes_out_at_once(
    providers: Providers, server: Upstream, wire: str
) -> None:
    words = [f"word{n} " for n in range(200)]
    server.policy = fixed(*words)
    texts = [
        chunk.text
        async for chunk in stream_chat(providers.chat(wire), wire, [HumanMessage("?")], tools=None, known_tools=set())
        if chunk.text
    ]
    assert "".join(texts) == "".join(words)
    assert len(texts) < 100


async def test_nobody_listens(providers: Providers, server: Upstream) -> None:
    url = server.openai_url
    server.__exit__(None, None, None)
    with pytest.raises(ProviderUnavailable) as away:
        await collect(providers, "openai")
    assert url not in away.value.message


async def test_an_answer_without_a_word_is_none(providers: Providers, server: Upstream) -> None:
    server.policy = lambda body: Reply()
    with pytest.raises(ProviderProtocolError):
        await collect(providers, "openai")


@pytest.mark.parametrize("wire", WIRES)
async def test_leaving_the_stream_closes_it(providers: Providers, server: Upstream, wire: str) -> None:
    server.fail("stall", after=3)
    stream = stream_chat(providers.chat(wire), wire, [HumanMessage("?")], tools=None, known_tools=set())
    await anext(stream)
    await stream.aclose()
    server.policy = fixed("again")
    assert (await collect(providers, wire)).text == "again"


@pytest.mark.parametrize("wire", WIRES)
async def test_the_competent_policy_over_the_wire(providers: Providers, server: Upstream, wire: str) -> None:
    server.policy = competent(analyse)
    text = "За просрочку поставки Поставщик уплачивает неустойку 0,1 % за каждый день."
    source = Source(
        n=1, chunk_id=ChunkId("c"), document_id=DocumentId("d"), version=1, title="Договор", start=0, end=len(text),
        text=text, score=1.0,
    )  # fmt: skip
    question = HumanMessage("Какая неустойка за просрочку поставки?")
    searching = await collect(providers, wire, tools=True, messages=[SystemMessage("You are."), question])
    assert searching.tool_calls[0]["args"] == {"query": question.text}
    quoting = await collect(
        providers, wire, messages=[SystemMessage(f"You are.\n{render_sources([source])}"), question]
    )
    assert quoting.text == f"В документах организации сказано: «{text}» [1]"
