"""The wire guard, for any bytes: however they are cut the answer is the same, and whatever is cut off is an error, never an answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.catalogue import Timeouts
from domain.errors import ProviderError, ProviderProtocolError, ProviderUnavailable
from providers.leave import Leave
from providers.meter import Meter
from providers.wire.anthropic import AnthropicDialect
from providers.wire.dialect import Dialect
from providers.wire.framing import Frames, Lines, ServerSentEvents
from providers.wire.guard import guarded, headed
from providers.wire.ollama import OllamaDialect
from providers.wire.openai import OpenAIDialect
from providers.wire.reading import Pump
from tests.upstream.reply import Call, Reply
from tests.upstream.wires import StreamFault, anthropic_sse, ollama_lines, openai_sse

WIRES = ["openai", "ollama", "anthropic"]
TOOLS = frozenset({"search", "save"})
PATIENT = Timeouts(connect=5, first_token=20, between_tokens=20, total=60)
CHEAP = settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
arguments = st.dictionaries(texts, st.one_of(texts, st.integers(-(2**53), 2**53), st.booleans(), st.none()), max_size=3)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """An answer: text, thoughts, tool calls, at least one of text and calls."""
    pieces = draw(st.lists(texts, max_size=6))
    made = draw(st.lists(st.tuples(st.sampled_from(sorted(TOOLS)), arguments), min_size=0 if pieces else 1, max_size=2))
    calls = [Call(name, json.dumps(given), f"call_{n}") for n, (name, given) in enumerate(made)]
    reasoning = draw(st.lists(texts, max_size=3))
    return Reply(
        pieces, calls, reasoning, prompt_tokens=draw(st.integers(1, 9999)), completion_tokens=draw(st.integers(1, 999))
    )


@dataclass
class Heard:
    """What came out of the guard: text, thoughts and calls put together again, and what the meter read."""

    text: str
    thoughts: str
    calls: list[tuple[str, Any]]
    finish: str | None
    usage: tuple[int, int, str]
    pieces: int


def stream_of(wire: str, reply: Reply, fault: StreamFault | None = None) -> list[bytes]:
    """The chunks a provider sends."""
    if wire == "openai":
        return list(openai_sse(reply, "m", usage=True, fault=fault))
    if wire == "ollama":
        return list(ollama_lines(reply, "m", fault=fault))
    return list(anthropic_sse(reply, "m", fault=fault))


def parts(wire: str, meter: Meter) -> tuple[Frames, Dialect[Any]]:
    if wire == "openai":
        return ServerSentEvents(), OpenAIDialect("p", "m", TOOLS, meter)
    if wire == "ollama":
        return Lines(), OllamaDialect("p", "m", TOOLS, meter)
    return ServerSentEvents(), AnthropicDialect("p", "m", TOOLS, meter)


async def source(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)


async def hear(wire: str, pieces: list[bytes], *, window: float = 0.025) -> Heard:
    """The guarded answer to these pieces. Raises what the guard raises."""
    meter = Meter(77)
    frames, dialect = parts(wire, meter)
    out = [piece async for piece in guarded(Pump(source(pieces)), frames, dialect, PATIENT, window=window)]
    text, thoughts, calls = read_of(wire)(out)
    used = meter.usage()
    return Heard(text, thoughts, calls, meter.finish_reason, (used.prompt, used.completion, used.source), len(out))


def of_openai(chunks: list[dict[str, Any]]) -> tuple[str, str, list[tuple[str, Any]]]:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    calls = [call["function"] for delta in deltas for call in delta.get("tool_calls") or ()]
    text = "".join(delta.get("content") or "" for delta in deltas)
    thoughts = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    return text, thoughts, [(call["name"], json.loads(call["arguments"])) for call in calls]


def of_ollama(lines: list[bytes]) -> tuple[str, str, list[tuple[str, Any]]]:
    messages = [orjson.loads(line)["message"] for line in lines]
    calls = [call["function"] for message in messages for call in message.get("tool_calls") or ()]
    text = "".join(message.get("content") or "" for message in messages)
    thoughts = "".join(message.get("thinking") or "" for message in messages)
    return text, thoughts, [(call["name"], call["arguments"]) for call in calls]


def of_anthropic(events: list[bytes]) -> tuple[str, str, list[tuple[str, Any]]]:
    told = [orjson.loads(event.split(b"data: ", 1)[1]) for event in events]
    text, thoughts, calls = "", "", {}
    for event in told:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            calls[event["index"]] = [event["content_block"]["name"], ""]
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            text += delta.get("text", "")
            thoughts += delta.get("thinking", "")
            if delta["type"] == "input_json_delta":
                calls[event["index"]][1] += delta["partial_json"]
    return text, thoughts, [(name, json.loads(raw)) for name, raw in calls.values()]


def read_of(wire: str) -> Callable[[list[Any]], tuple[str, str, list[tuple[str, Any]]]]:
    """Puts together again what comes out of a guard: text, thoughts, calls."""
    readers: dict[str, Callable[[list[Any]], tuple[str, str, list[tuple[str, Any]]]]] = {
        "openai": of_openai, "ollama": of_ollama, "anthropic": of_anthropic,
    }  # fmt: skip
    return readers[wire]


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(ends)]


@pytest.mark.parametrize("wire", WIRES)
@given(reply=replies(), places=st.lists(st.integers(0, 100_000), max_size=40))
@CHEAP
async def test_any_chunking_of_the_same_bytes_is_the_same_answer(wire: str, reply: Reply, places: list[int]) -> None:
    chunks = stream_of(wire, reply)
    whole, pieces = await hear(wire, chunks), await hear(wire, cut_at(b"".join(chunks), places))
    assert (whole.text, whole.thoughts, whole.calls) == (pieces.text, pieces.thoughts, pieces.calls)
    assert (whole.finish, whole.usage) == (pieces.finish, pieces.usage)
    assert whole.text == "".join(reply.pieces)
    assert whole.thoughts == "".join(reply.reasoning)
    assert whole.calls == [(call.name, json.loads(call.arguments)) for call in reply.calls]
    assert whole.usage == (reply.prompt_tokens, reply.completion_tokens, "provider")


@pytest.mark.parametrize("wire", WIRES)
@given(reply=replies(), place=st.integers(0, 100_000), places=st.lists(st.integers(0, 100_000), max_size=10))
@CHEAP
async def test_whatever_is_cut_off_is_no_answer(wire: str, reply: Reply, place: int, places: list[int]) -> None:
    """An error, or all of the answer: what is missing then is only what comes after its end."""
    data = b"".join(stream_of(wire, reply))
    kept = data[: place % len(data)]
    try:
        heard = await hear(wire, cut_at(kept, places))
    except ProviderProtocolError:
        return
    assert heard.text == "".join(reply.pieces)
    assert heard.calls == [(call.name, json.loads(call.arguments)) for call in reply.calls]
    assert heard.finish is not None
    assert wire == "openai" or heard.usage == (reply.prompt_tokens, reply.completion_tokens, "provider")


@pytest.mark.parametrize("wire", WIRES)
@given(data=st.binary(max_size=300), places=st.lists(st.integers(0, 300), max_size=5))
@CHEAP
async def test_garbage_is_a_typed_error(wire: str, data: bytes, places: list[int]) -> None:
    with pytest.raises(ProviderError):
        await hear(wire, cut_at(data, places))


@pytest.mark.parametrize("wire", WIRES)
@given(
    reply=replies(),
    at=st.integers(0, 100_000),
    value=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-9, 9), texts),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(
            ["choices", "delta", "message", "tool_calls", "function", "index", "usage", "type", "content_block", "error"]
        ), inner, max_size=3),
        max_leaves=6,
    ),
)  # fmt: skip
@CHEAP
async def test_a_strange_frame_in_the_middle_is_passed_over_or_typed(
    wire: str, reply: Reply, at: int, value: Any
) -> None:
    """Any JSON where a frame is expected: the answer is whole and unaltered, or there is a ProviderError."""
    chunks = stream_of(wire, reply)
    frame = orjson.dumps(value)
    chunks.insert(at % len(chunks), frame + b"\n" if wire == "ollama" else b"data: " + frame + b"\n\n")
    try:
        heard = await hear(wire, chunks)
    except ProviderError:
        return
    assert heard.text == "".join(reply.pieces)
    assert heard.calls == [(call.name, json.loads(call.arguments)) for call in reply.calls]


class Paced:
    """A provider whose every chunk is released by the test."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self.chunks.get()) is not None:
            yield chunk


@pytest.mark.parametrize("wire", WIRES)
async def test_the_first_delta_goes_out_at_once_and_the_rest_together(wire: str) -> None:
    words = [f"word{n} " for n in range(50)]
    chunks = stream_of(wire, Reply(words))
    first = next(n for n, chunk in enumerate(chunks) if b"word0 " in chunk)
    paced, meter = Paced(), Meter(1)
    frames, dialect = parts(wire, meter)
    window = 3600.0  # what isn't at once comes with the end
    out = aiter(guarded(Pump(aiter(paced)), frames, dialect, PATIENT, window=window))
    for chunk in chunks[: first + 1]:
        paced.chunks.put_nowait(chunk)
    got: list[Any] = []
    read = read_of(wire)
    async with asyncio.timeout(5):
        while not read(got)[0]:
            got.append(await anext(out))
    assert read(got)[0] == "word0 "
    for chunk in chunks[first + 1 :]:
        paced.chunks.put_nowait(chunk)
    paced.chunks.put_nowait(None)
    async with asyncio.timeout(5):
        rest = [piece async for piece in out]
    assert read([*got, *rest])[0] == "".join(words)
    assert len(rest) <= 6, "the text in one piece, then the end"


@pytest.mark.parametrize("wire", WIRES)
async def test_the_first_delta_of_a_burst_goes_out_alone(wire: str) -> None:
    """The rest of what came with it is looked at later."""
    words = [f"word{n} " for n in range(50)]
    burst = b"".join(stream_of(wire, Reply(words)))
    paced, meter = Paced(), Meter(1)
    frames, dialect = parts(wire, meter)
    out = aiter(guarded(Pump(aiter(paced)), frames, dialect, PATIENT))
    paced.chunks.put_nowait(burst)
    paced.chunks.put_nowait(None)
    got: list[Any] = []
    read = read_of(wire)
    async with asyncio.timeout(5):
        while not read(got)[0]:
            got.append(await anext(out))
        assert read(got)[0] == "word0 "
        rest = [piece async for piece in out]
    assert read([*got, *rest])[0] == "".join(words)


@pytest.mark.parametrize("wire", WIRES)
async def test_the_first_delta_has_a_head_start(wire: str) -> None:
    """What is waiting to pass it on does so before the rest of its burst is looked at, all of which is at hand."""
    words = [f"word{n} " for n in range(50)]
    paced = Paced()
    frames, dialect = parts(wire, Meter(1))
    out = aiter(guarded(Pump(aiter(paced)), frames, dialect, PATIENT))
    paced.chunks.put_nowait(b"".join(stream_of(wire, Reply(words))))
    paced.chunks.put_nowait(None)
    got: list[Any] = []
    read = read_of(wire)
    passed_on: list[str] = []
    async with asyncio.timeout(5):
        while not read(got)[0]:
            got.append(await anext(out))
        asyncio.get_running_loop().call_soon(passed_on.append, read(got)[0])
        while read(got)[0] == "word0 ":
            got.append(await anext(out))
    assert passed_on == ["word0 "]


@pytest.mark.parametrize("wire", WIRES)
async def test_a_delta_waits_no_longer_than_the_window(wire: str) -> None:
    """Also while the provider says nothing more."""
    chunks = stream_of(wire, Reply(["one ", "two ", "three"]))
    upto = next(n for n, chunk in enumerate(chunks) if b"two " in chunk)
    paced = Paced()
    frames, dialect = parts(wire, Meter(1))
    out = aiter(guarded(Pump(aiter(paced)), frames, dialect, PATIENT, window=0.01))
    for chunk in chunks[: upto + 1]:
        paced.chunks.put_nowait(chunk)
    got: list[Any] = []
    read = read_of(wire)
    async with asyncio.timeout(5):
        while read(got)[0] != "one two ":
            got.append(await anext(out))
    paced.chunks.put_nowait(None)
    with pytest.raises(ProviderProtocolError):
        async for piece in out:
            got.append(piece)
    assert read(got)[0] == "one two "


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("keepalives", [False, True])
async def test_silence_and_keepalives_are_a_stall(wire: str, keepalives: bool) -> None:
    hurried = Timeouts(connect=1, first_token=0.3, between_tokens=0.1, total=30)
    empty = {"openai": b": ping\n\n", "anthropic": b'data: {"type": "ping"}\n\n',
             "ollama": b'{"message": {"role": "assistant", "content": ""}, "done": false}\n'}[wire]  # fmt: skip

    async def provider() -> AsyncIterator[bytes]:
        for chunk in stream_of(wire, Reply(["one ", "two"]))[:-3]:
            yield chunk
        while True:
            if keepalives:
                yield empty
            await asyncio.sleep(0.01)

    frames, dialect = parts(wire, Meter(1))
    with pytest.raises(ProviderUnavailable) as stalled:
        async with asyncio.timeout(10):
            async for _ in guarded(Pump(provider()), frames, dialect, hurried):
                pass
    assert stalled.value.details["reason"] == "stalled"


async def test_a_process_that_was_busy_does_not_blame_the_provider() -> None:
    """The head of the response came while nobody could read it."""
    answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def response() -> str:
        asyncio.get_running_loop().call_soon(time.sleep, 0.4)  # the loop is blocked beyond the deadline
        asyncio.get_running_loop().call_later(0.41, answered.set_result, "the head")
        return await answered

    hurried = Timeouts(connect=1, first_token=0.1, between_tokens=1, total=30)
    assert await headed(response(), "p", hurried) == "the head"


async def test_the_providers_time_begins_when_the_request_may_be_sent() -> None:
    """The ledger was slow, not the provider."""
    loop = asyncio.get_running_loop()
    leave = Leave()
    answered: asyncio.Future[str] = loop.create_future()
    hurried = Timeouts(connect=1, first_token=0.3, between_tokens=1, total=30)
    loop.call_later(0.6, leave.give)
    loop.call_later(0.7, answered.set_result, "the head")
    meter = Meter(1, leave)

    async def response() -> str:
        await meter.cleared()
        return await answered

    assert await headed(response(), "p", hurried, meter) == "the head"


async def test_a_request_that_may_be_sent_is_not_waited_for_longer() -> None:
    loop = asyncio.get_running_loop()
    leave = Leave()
    loop.call_later(0.1, leave.give)
    hurried = Timeouts(connect=1, first_token=0.2, between_tokens=1, total=30)
    meter = Meter(1, leave)

    async def response() -> str:
        await meter.cleared()
        return await loop.create_future()

    with pytest.raises(ProviderUnavailable) as stalled:
        async with asyncio.timeout(10):
            await headed(response(), "p", hurried, meter)
    assert stalled.value.details["reason"] == "stalled"
