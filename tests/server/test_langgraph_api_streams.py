"""Streams of the LangGraph API on the wire: how events are rendered, and what becomes of a stream that is broken off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langgraph.types import Interrupt
from langgraph_sdk.sse import SSEDecoder

from domain.errors import InvalidInput
from domain.ids import OrganizationId, RunId, ThreadId
from domain.runs import Event
from server.render.serialize import Hidden, dumps, jsonable
from server.render.sse import SseRenderer, resume_point, stream_modes
from tests.serving import Served, serve, settings_for
from tests.upstream.reply import fixed
from tests.upstream.server import Upstream

KEYS = frozenset({"messages", "citations"})
RUN = RunId("7f0e0f3c-9d1c-4b6e-9a57-3f2f5f0c8a11")
QUESTION = {"messages": [{"role": "user", "content": "hello, who are you?"}]}


def event(seq: int, method: str, data: Any, *ns: str, terminal: bool = False) -> Event:
    return Event(seq, RUN, method, ns, data, terminal)


def read(rendered: bytes) -> list[tuple[str, Any, str | None]]:
    """What the SDK's own decoder makes of the bytes: (event, data, id)."""
    decoder, parts = SSEDecoder(), []
    for line in rendered.split(b"\r\n"):
        if (part := decoder.decode(line)) is not None and part.event:
            parts.append((part.event, part.data, part.id))
    return parts


CHUNKS = [
    AIMessageChunk("Hel", id="a"),
    AIMessageChunk("lo", id="a"),
    AIMessageChunk("", id="a", chunk_position="last"),
]
LOG = [
    event(1, "metadata", {"run_id": RUN, "attempt": 1}),
    event(2, "messages", [CHUNKS[0], {"langgraph_node": "model"}]),
    event(3, "messages", [CHUNKS[1], {"langgraph_node": "model"}], "legal_agent:1"),
    event(4, "custom", {"type": "route"}, "legal_agent:1", "model:2"),
    event(5, "updates", {"model": {"messages": [AIMessage("Hello", id="a")], "turn": {"secret": 1}}, "tools": None}),
    event(6, "values", {"messages": [AIMessage("Hello", id="a")], "citations": [], "turn": {"secret": 1}}),
    event(7, "end", {"status": "success"}, terminal=True),
]


def rendered(log: list[Event], modes: list[str], **options: Any) -> list[tuple[str, Any, str | None]]:
    renderer = SseRenderer(modes, keys=KEYS, **{"subgraphs": False, **options})
    return read(b"".join(renderer.render(one) for one in log))


def test_events_are_named_as_the_langgraph_server_names_them() -> None:
    names = [name for name, _, _ in rendered(LOG, ["values", "updates", "messages-tuple", "custom"], subgraphs=True)]
    assert names == [
        "metadata",
        "messages",
        "messages|legal_agent:1",
        "custom|legal_agent:1|model:2",
        "updates",
        "values",
        "end",
    ]
    assert [name for name, _, _ in rendered(LOG, ["messages-tuple"])] == ["metadata", "messages", "end"]


def test_only_shown_keys_leave() -> None:
    shown = rendered(LOG, ["values", "updates"])
    assert "secret" not in str(shown)
    assert shown[1][1]["tools"] is None
    assert set(shown[2][1]) == KEYS


def test_an_id_is_the_seq_and_resumes() -> None:
    modes = ["values", "updates", "messages-tuple", "custom"]
    whole = rendered(LOG, modes, subgraphs=True)
    assert [seq for _, _, seq in whole] == ["1", "2", "3", "4", "5", "6", "7"]
    for after in range(1, 7):
        assert rendered(LOG, modes, subgraphs=True, after_seq=after) == whole[after:]


def test_growing_messages_are_whole_each_time_and_after_a_resume() -> None:
    log = [event(n, "messages", [chunk, {"langgraph_node": "model"}]) for n, chunk in enumerate(CHUNKS, 1)]
    whole = rendered(log, ["messages"])
    assert [name for name, _, _ in whole] == ["messages/metadata", *["messages/partial"] * 3]
    assert [data[0]["content"] for name, data, _ in whole if name == "messages/partial"] == ["Hel", "Hello", "Hello"]
    renderer = SseRenderer(["messages"], subgraphs=False, keys=KEYS, after_seq=1)
    assert renderer.tail_from is None
    [second, _] = read(b"".join(renderer.render(one) for one in log))
    assert second[1][0]["content"] == "Hello"
    complete = [event(1, "messages", [HumanMessage("hi", id="h"), {}])]
    assert [name for name, _, _ in rendered(complete, ["messages"])][-1] == "messages/complete"


def test_interrupts_reach_a_client_of_values_alone() -> None:
    log = [event(1, "updates", {"__interrupt__": [Interrupt(value={"ask": "ok?"}, id="i-1")]})]
    [(name, data, _)] = rendered(log, ["values"])
    assert (name, data) == ("values", {"__interrupt__": [{"id": "i-1", "value": {"ask": "ok?"}}]})
    [(name, again, _)] = rendered(log, ["values", "updates"])
    assert (name, again) == ("updates", data)


def test_an_error_says_its_kind_and_message() -> None:
    error = {"error_code": "provider_unavailable", "message": "openai: no answer", "trace_id": "0" * 32}
    [(name, data, _)] = rendered([event(1, "error", error)], ["values"])
    assert name == "error"
    assert (data["error"], data["message"]) == ("provider_unavailable", "openai: no answer")


words = st.text(max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
messages = st.builds(
    lambda text, extra: AIMessageChunk(text, id="m", response_metadata=extra), words, st.dictionaries(words, plain)
)


@given(message=messages, metadata=st.dictionaries(words, plain, max_size=3))
def test_what_is_replayed_is_what_was_sent_live(message: AIMessageChunk, metadata: dict[str, Any]) -> None:
    """jsonb keeps values, but neither the order of keys nor NULs and lone surrogates."""
    live = [message, metadata]
    stored = orjson.loads(orjson.dumps(reversed_keys(jsonable(live))))
    assert dumps(stored) == dumps(live)
    assert b"\\u0000" not in dumps(live)


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def test_lone_surrogates_and_nuls_are_dropped() -> None:
    assert dumps({"a": "x\ud800y\x00z", "b": AIMessage("\ud83d", id="1")}).startswith(b'{"a":"xyz"')
    assert dumps("a\\u0000b") == b'"a\\\\u0000b"'


def test_the_savers_thread_id_is_hidden() -> None:
    organization, thread = OrganizationId("6" * 8), ThreadId("7" * 8)
    hidden = Hidden(organization, thread, ThreadId("child"))
    assert hidden.strip(dumps({"thread_id": f"{organization}:{thread}", "text": f"{organization}: hello"})) == dumps(
        {"thread_id": "child", "text": f"{organization}: hello"}
    )


@pytest.mark.parametrize(
    ("asked", "modes"),
    [
        (None, []),
        ("values", ["values"]),
        ("values,custom", ["values", "custom"]),
        ('["values","messages-tuple"]', ["values", "messages-tuple"]),
        (["updates", "updates"], ["updates"]),
    ],
)
def test_modes_come_in_any_form(asked: Any, modes: list[str]) -> None:
    assert stream_modes(asked) == modes


@pytest.mark.parametrize("asked", ["debug", ["events"], "[1", [["values"]], "[null]"])
def test_other_modes_are_refused(asked: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        stream_modes(asked)
    assert refused.value.details["field"] == "stream_mode"


def test_the_resume_point_is_a_number() -> None:
    assert [resume_point(given) for given in (None, "", "-1", "-", "17")] == [None, None, None, None, 17]
    for wrong in ("soon", "1-0", "-2", "²", "9" * 30):
        with pytest.raises(InvalidInput):
            resume_point(wrong)


# Streams that are broken off


@pytest.fixture
async def stalled(
    owner_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Served, Upstream]]:
    """A server whose first answer of the model stalls after some words."""
    with Upstream(fixed("one two three ", "four five six ", "seven eight nine ", "ten")) as upstream:
        upstream.fail("stall", after=3)
        monkeypatch.setenv("OPENAI_BASE_URL", upstream.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-tests")
        async with serve(settings_for(owner_dsn, tmp_path)) as served:
            yield served, upstream


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


async def begin(http: httpx.AsyncClient, **body: Any) -> str:
    """Start a stream, read until the model has said something, and leave. Returns the run's path."""
    asked = {"assistant_id": "supervisor", "input": QUESTION, "stream_mode": ["messages-tuple"], **body}
    thread = (await http.post("/threads", json={})).json()
    async with http.stream("POST", f"/threads/{thread['thread_id']}/runs/stream", json=asked) as answer:
        async for line in answer.aiter_lines():
            if line == "event: messages":
                break
        return answer.headers["content-location"]


async def test_leaving_ends_a_run_that_asked_for_it(stalled: tuple[Served, Upstream]) -> None:
    server, upstream = stalled
    async with server.http() as http:
        path = await begin(http, on_disconnect="cancel")

        async def over() -> bool:
            return (await http.get(path)).json()["status"] == "interrupted"

        await until(over)

    async def left() -> bool:
        return upstream.disconnects == 1

    await until(left)


async def test_leaving_a_join_ends_the_run_only_where_asked(stalled: tuple[Served, Upstream]) -> None:
    server, _ = stalled
    async with server.http() as http:
        path = await begin(http)
        for cancel, status in (("false", "running"), ("true", "interrupted")):
            async with http.stream("GET", f"{path}/stream?cancel_on_disconnect={cancel}") as answer:
                async for line in answer.aiter_lines():
                    if line == "event: messages":
                        break

            async def settled(status: str = status) -> bool:
                return (await http.get(path)).json()["status"] == status

            await until(settled)


async def test_a_run_given_back_cuts_its_streams_without_an_end(stalled: tuple[Served, Upstream]) -> None:
    """What a replica does when it stops: the run waits for another one, and no client takes the cut for the end."""
    server, _ = stalled
    async with server.http() as http:
        path = await begin(http)

        async def follow(url: str, underway: asyncio.Event) -> bytes:
            """What came before the connection was cut."""
            read = b""
            async with http.stream("GET", url) as answer:
                chunks = answer.aiter_bytes()
                try:
                    while True:
                        underway.set()
                        read += await anext(chunks)
                except httpx.RemoteProtocolError:
                    return read

        begun = [asyncio.Event(), asyncio.Event()]
        following = [
            asyncio.create_task(follow(f"{path}/{what}", underway))
            for what, underway in zip(("stream", "join"), begun, strict=True)
        ]
        await asyncio.gather(*(underway.wait() for underway in begun))
        await server.state.engine.stop()
        streamed, joined = await asyncio.gather(*following)
        assert b"event: messages" in streamed
        assert b"event: end" not in streamed
        assert joined.strip() == b""
        assert (await http.get(path)).json()["status"] == "pending"


async def test_a_repeated_key_is_one_run_though_messages_have_no_ids(stalled: tuple[Served, Upstream]) -> None:
    server, _ = stalled
    body = {"assistant_id": "supervisor", "input": QUESTION}
    async with server.http() as http, server.http(user="bob") as other:
        path = f"/threads/{(await http.post('/threads', json={})).json()['thread_id']}/runs"
        headers = {"Idempotency-Key": "once"}
        first, second = [(await http.post(path, json=body, headers=headers)).json()["run_id"] for _ in range(2)]
        assert first == second
        assert (await other.post(path, json=body, headers=headers)).json()["run_id"] != first
        changed = await http.post(path, json={**body, "input": {"messages": "something else"}}, headers=headers)
        assert changed.status_code == 409
        await http.post(f"{path}/{first}/cancel?wait=true")
