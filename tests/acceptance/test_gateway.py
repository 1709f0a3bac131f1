"""The official `openai` client, unchanged, against models and agents: streamed or not, with tools, through failures."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import openai
import psycopg
import pytest
from openai import AsyncOpenAI

from retrieval.demo import read_demo
from storage.invariants import violations
from tests.acceptance.conftest import WIRES, Serving
from tests.serving import Served
from tests.upstream.reply import Call, Reply, fixed, script
from tests.upstream.server import Upstream

PROVIDERS = {"openai": "openai/gpt-4o-mini", "ollama": "ollama/qwen3:8b", "anthropic": "anthropic/claude-sonnet-4-5"}
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather at a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
ASKED = Call("weather", '{"place": "Нижний Новгород, Россия"}', id="call_abc")


def client(server: Served, *, max_retries: int = 0, **who: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.token(**who), max_retries=max_retries, timeout=30)


async def text_of(stream: Any) -> tuple[str, list[Any]]:
    """The text of a streamed answer, and all its chunks."""
    chunks = [chunk async for chunk in stream]
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks


def entries(owner_dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(owner_dsn) as conn:
        return conn.execute(
            "SELECT provider, model, agent, prompt, completion FROM usage_ledger ORDER BY created_at"
        ).fetchall()


def outcome(owner_dsn: str) -> tuple[str, str, int]:
    """Of the only call: its purpose, its end, its attempts."""
    with psycopg.connect(owner_dsn) as conn:
        [row] = conn.execute("SELECT purpose, outcome, jsonb_array_length(detail->'attempts') FROM model_calls")
    return row


@pytest.mark.parametrize("wire", WIRES)
async def test_a_model_answers(serving: Serving, wire: str, owner_dsn: str) -> None:
    with Upstream(fixed("Good ", "morning", ".", prompt_tokens=31, completion_tokens=7)) as upstream:
        async with serving(upstream, wire) as server:
            asking = client(server)
            whole = await asking.chat.completions.create(model=PROVIDERS[wire], messages=HELLO)
            streamed, chunks = await text_of(
                await asking.chat.completions.create(
                    model=PROVIDERS[wire], messages=HELLO, stream=True, stream_options={"include_usage": True}
                )
            )
            plain, without = await text_of(
                await asking.chat.completions.create(model=PROVIDERS[wire], messages=HELLO, stream=True)
            )
    assert whole.object == "chat.completion"
    assert whole.choices[0].message.role == "assistant"
    assert whole.choices[0].message.content == streamed == plain == "Good morning."
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (31, 7, 38)
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 38
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert all(chunk.usage is None and chunk.choices for chunk in without)
    provider, _, model = PROVIDERS[wire].partition("/")
    assert entries(owner_dsn) == [(provider, model, "gateway", 31, 7)] * 3


@pytest.mark.parametrize("wire", WIRES)
async def test_tools_are_the_clients(serving: Serving, wire: str) -> None:
    with Upstream(script(Reply(calls=[ASKED]), Reply(["It rains."]), Reply(calls=[ASKED]))) as upstream:
        async with serving(upstream, wire) as server:
            asking = client(server)
            model = PROVIDERS[wire]
            first = await asking.chat.completions.create(model=model, messages=HELLO, tools=[WEATHER])
            message = first.choices[0].message
            assert message.tool_calls is not None
            [call] = message.tool_calls
            assert call.type == "function"
            back: Any = [
                *HELLO,
                message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": "rain"},
            ]
            second = await asking.chat.completions.create(model=model, messages=back, tools=[WEATHER])
            _, chunks = await text_of(
                await asking.chat.completions.create(model=model, messages=HELLO, tools=[WEATHER], stream=True)
            )
    assert first.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"place": "Нижний Новгород, Россия"}
    assert call.id
    assert second.choices[0].message.content == "It rains."
    assert "rain" in json.dumps(upstream.requests[1]["messages"])
    deltas = [c for chunk in chunks for c in chunk.choices[0].delta.tool_calls or ()]
    assert deltas[0].function.name == "weather"
    joined = "".join(delta.function.arguments or "" for delta in deltas)
    assert json.loads(joined) == {"place": "Нижний Новгород, Россия"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_parameters_reach_the_provider(serving: Serving, upstream: Upstream) -> None:
    shape: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    upstream.policy = fixed("{}")
    async with serving(upstream) as server:
        asking = client(server)
        answer = await asking.chat.completions.with_raw_response.create(
            model="gpt-4o",
            messages=[{"role": "developer", "content": "Be brief."}, *HELLO],
            temperature=0.25,
            max_completion_tokens=77,
            stop=["END"],
            seed=5,
            response_format=shape,
            store=True,
            metadata={"a": "b"},
        )
    [sent] = upstream.requests
    assert sent["messages"] == [{"role": "developer", "content": "Be brief."}, *HELLO]
    assert sent["model"] == "gpt-4o"
    assert (sent["temperature"], sent["max_completion_tokens"], sent["stop"], sent["seed"]) == (0.25, 77, ["END"], 5)
    assert sent["response_format"] == shape
    assert "store" not in sent
    assert "metadata" not in sent
    assert answer.headers["x-consilium-ignored"] == "metadata, store"
    assert answer.headers["x-consilium-provider"] == "openai"


async def test_models_lists_agents_and_models(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server:
        asking = client(server)
        listed = [model async for model in asking.models.list()]
        names = {model.id for model in listed}
        one = await asking.models.retrieve("openai/gpt-4o-mini")
        with pytest.raises(openai.NotFoundError) as missing:
            await asking.models.retrieve("no/such")
    assert {"supervisor", "legal_agent", "auto", "openai/gpt-4o-mini", "openai/text-embedding-3-small"} <= names
    assert not any(name.startswith("anthropic/") for name in names)
    assert one.id == "openai/gpt-4o-mini"
    assert one.owned_by == "openai"
    assert all(model.object == "model" and model.created >= 0 for model in listed)
    assert missing.value.code == "model_not_found"


async def test_an_unknown_model_is_refused_with_what_there_is(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server:
        with pytest.raises(openai.NotFoundError) as refused:
            await client(server).chat.completions.create(model="gpt-nonesuch", messages=HELLO)
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"
    assert "supervisor" in refused.value.message
    body: Any = refused.value.body
    assert "openai/gpt-4o-mini" in body["details"]["available"]
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ],
)
async def test_a_wrong_request_names_its_parameter(
    serving: Serving, upstream: Upstream, sent: dict[str, Any], param: str
) -> None:
    async with serving(upstream) as server:
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            await client(server).chat.completions.create(**{"model": "gpt-4o", "messages": HELLO, **sent})
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
    assert upstream.requests == []


async def test_the_completions_are_described_and_only_posted(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream, "openai") as server, server.http() as http:
        described = (await http.get("/openapi.json")).json()["paths"]["/v1/chat/completions"]
        assert list(described) == ["post"]
        assert "model" in described["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
        wrong = await http.get("/v1/chat/completions")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"
    assert wrong.json()["error"]["message"] == "/v1/chat/completions has no method GET."


async def test_without_a_token(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server:
        asking = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.AuthenticationError) as refused:
            await asking.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert refused.value.code == "invalid_api_key"


async def test_a_refused_key_is_named_by_its_variable(serving: Serving, upstream: Upstream) -> None:
    upstream.fail("unauthorized", times=9)
    async with serving(upstream) as server:
        with pytest.raises(openai.APIStatusError) as refused:
            await client(server).chat.completions.create(model="openai/gpt-4o", messages=HELLO)
    assert refused.value.status_code == 502
    assert "OPENAI_API_KEY" in refused.value.message
    assert "must-not-be-seen" not in refused.value.message
    assert "sk-secret" not in refused.value.message
    assert refused.value.response.headers["x-should-retry"] == "false"


async def test_a_request_its_provider_finds_wrong_is_the_clients(serving: Serving, upstream: Upstream) -> None:
    upstream.fail("bad_request", times=9)
    async with serving(upstream) as server:
        with pytest.raises(openai.BadRequestError):
            await client(server).chat.completions.create(model="openai/gpt-4o", messages=HELLO)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("fault", ["server_error", "rate_limit", "reset", "html"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_answer_is_not_seen(
    serving: Serving, fault: Any, stream: bool, owner_dsn: str
) -> None:
    with Upstream(fixed("whole answer")) as upstream:
        upstream.fail(fault)
        async with serving(upstream) as server:
            answer: Any = await client(server).chat.completions.create(
                model="openai/gpt-4o", messages=HELLO, stream=stream
            )
            text = (await text_of(answer))[0] if stream else answer.choices[0].message.content
    assert text == "whole answer"
    assert outcome(owner_dsn) == ("gateway", "answered", 2)
    assert violations(owner_dsn) == []


@pytest.mark.parametrize("stream", [False, True])
async def test_another_provider_stands_in(
    serving: Serving, stream: bool, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Upstream(fixed("of the cloud")) as upstream, Upstream(fixed("of the house")) as local:
        monkeypatch.setenv("VLLM_BASE_URL", local.openai_url)
        monkeypatch.setenv("VLLM_MODEL", "llama")
        upstream.fail("server_error", times=9)
        async with serving(upstream) as server:
            answer: Any = await client(server).chat.completions.create(
                model="openai/gpt-4o", messages=HELLO, stream=stream
            )
            text = (await text_of(answer))[0] if stream else answer.choices[0].message.content
    assert text == "of the house"
    assert local.requests[0]["model"] == "llama"
    assert outcome(owner_dsn)[:2] == ("gateway", "answered")
    assert violations(owner_dsn) == []


@pytest.mark.parametrize("fault", ["reset_midway", "eof", "bad_json", "length_in_arguments"])
async def test_a_failure_in_the_middle_of_a_whole_answer_is_not_seen(
    serving: Serving, fault: Any, owner_dsn: str
) -> None:
    call = Call("weather", '{"place": "Nizhny Novgorod"}')
    with Upstream(fixed("It ", "seems ", "so.", calls=[call])) as upstream:
        upstream.chunk_seconds = 0.02
        upstream.fail(fault)
        async with serving(upstream) as server:
            answer = await client(server).chat.completions.create(
                model="openai/gpt-4o", messages=HELLO, tools=[WEATHER]
            )
    message = answer.choices[0].message
    assert message.content == "It seems so."
    assert [c.function.arguments for c in message.tool_calls or () if c.type == "function"] == [call.arguments]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert outcome(owner_dsn) == ("gateway", "answered", 2)
    assert violations(owner_dsn) == []


@pytest.mark.parametrize("fault", ["reset_midway", "eof", "bad_json", "eof_in_arguments"])
async def test_a_failure_in_the_middle_of_a_stream_is_an_error(serving: Serving, fault: Any, owner_dsn: str) -> None:
    """OpenAI's stream has no word for what is void: a shortened answer must not look like a whole one."""
    call = Call("weather", '{"place": "Nizhny Novgorod"}')
    with Upstream(fixed("It ", "seems ", "so.", calls=[call])) as upstream:
        upstream.chunk_seconds = 0.05
        upstream.fail(fault)
        async with serving(upstream) as server:
            stream: Any = await client(server).chat.completions.create(
                model="openai/gpt-4o", messages=HELLO, tools=[WEATHER], stream=True
            )
            chunks = []
            with pytest.raises(openai.APIError) as failed:
                async for chunk in stream:
                    chunks.append(chunk)
    assert chunks
    assert not any(choice.finish_reason or choice.delta.tool_calls for chunk in chunks for choice in chunk.choices)
    body: Any = failed.value.body
    assert body["trace_id"]
    assert outcome(owner_dsn) == ("gateway", "failed", 1)
    assert violations(owner_dsn) == []


async def test_the_days_tokens(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream, CONSILIUM_DAILY_TOKENS="10") as server:
        with pytest.raises(openai.RateLimitError) as refused:
            await client(server).chat.completions.create(model="openai/gpt-4o", messages=HELLO, stream=True)
    assert refused.value.code == "insufficient_quota"
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert int(refused.value.response.headers["retry-after"]) > 0
    assert upstream.requests == []


async def test_rates(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream, CONSILIUM_RATE_USER_PER_MINUTE="1") as server:
        await client(server).chat.completions.create(model="openai/gpt-4o", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as refused:
            await client(server).chat.completions.create(model="openai/gpt-4o", messages=HELLO)
        await client(server, user="bob").chat.completions.create(model="openai/gpt-4o", messages=HELLO)
    assert refused.value.code == "rate_limit_exceeded"


async def test_a_reader_that_leaves_ends_the_call(serving: Serving, owner_dsn: str) -> None:
    with Upstream(fixed(*(f"word{n} " for n in range(400)))) as upstream:
        upstream.chunk_seconds = 0.02
        async with serving(upstream) as server:
            stream: Any = await client(server).chat.completions.create(
                model="openai/gpt-4o", messages=HELLO, stream=True
            )
            async for _ in stream:
                break
            await stream.close()
            async with asyncio.timeout(5):
                while not upstream.spent or not entries(owner_dsn):
                    await asyncio.sleep(0.01)
    assert upstream.disconnects == 1
    [(provider, _, _, _, completion)] = entries(owner_dsn)
    assert provider == "openai"
    assert completion > 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_before_the_answer_begins_ends_the_call(
    serving: Serving, upstream: Upstream, owner_dsn: str, stream: bool
) -> None:
    upstream.fail("silent")
    async with serving(upstream) as server:
        create: Any = client(server).chat.completions.create
        asking = asyncio.create_task(create(model="openai/gpt-4o", messages=HELLO, stream=stream))
        async with asyncio.timeout(20):
            while not upstream.requests:
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            while [completion for *_, completion in entries(owner_dsn)] != [0]:
                await asyncio.sleep(0.01)
    assert outcome(owner_dsn) == ("gateway", "cancelled", 1)
    assert violations(owner_dsn) == []


async def test_auto_leaves_the_choice_to_the_router(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server:
        answer = await client(server).chat.completions.create(model="auto", messages=HELLO)
    assert answer.model == "gpt-4o-mini"


# Agents


@pytest.mark.parametrize("wire", WIRES)
async def test_an_agent_answers_with_citations(serving: Serving, upstream: Upstream, wire: str) -> None:
    question: Any = [{"role": "user", "content": "Какая неустойка за просрочку поставки по договору?"}]
    async with serving(upstream, wire) as server:
        for item in read_demo().documents:
            await server.upload(item.path.name, item.path.read_bytes(), organization="demo", media_type="")
        asking = client(server, organization="demo")
        whole = await asking.chat.completions.create(model="supervisor", messages=question)
        streamed, chunks = await text_of(
            await asking.chat.completions.create(
                model="supervisor", messages=question, stream=True, stream_options={"include_usage": True}
            )
        )
    content = whole.choices[0].message.content
    assert content is not None
    assert "0,1 %" in content
    assert whole.model == "supervisor"
    assert streamed.strip() == content.strip()
    assert whole.choices[0].message.annotations
    extra: Any = whole.choices[0].message.model_extra
    assert extra["citations"][0]["quote"]
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.total_tokens > 0
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


async def test_an_agent_without_a_model_says_what_it_finds(serving: Serving) -> None:
    async with serving(None, None) as server:
        answer = await client(server).chat.completions.create(model="supervisor", messages=HELLO)
    assert answer.choices[0].message.content


async def test_an_agent_has_its_own_tools(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server:
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            await client(server).chat.completions.create(model="supervisor", messages=HELLO, tools=[WEATHER])
    assert refused.value.param == "tools"


async def test_an_agent_keeps_to_a_schema(serving: Serving) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    shape: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    with Upstream(fixed('{"n": 3}')) as upstream:
        async with serving(upstream) as server:
            asking = client(server)
            answer = await asking.chat.completions.create(model="supervisor", messages=HELLO, response_format=shape)
    assert json.loads(answer.choices[0].message.content or "") == {"n": 3}


async def test_an_agents_failure_is_an_error(serving: Serving) -> None:
    async with serving(None, None, CONSILIUM_DAILY_TOKENS="10") as server:
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as refused:
                await client(server).chat.completions.create(model="supervisor", messages=HELLO, stream=stream)
            assert refused.value.code == "insufficient_quota"


async def test_nothing_of_an_agents_conversation_stays(serving: Serving, upstream: Upstream, owner_dsn: str) -> None:
    async with serving(upstream) as server:
        await client(server).chat.completions.create(model="supervisor", messages=HELLO)
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM threads").fetchone() == (0,)


async def test_it_is_plain_server_sent_events(serving: Serving, upstream: Upstream) -> None:
    upstream.policy = fixed("one ", "two")
    async with serving(upstream) as server, httpx2.AsyncClient(base_url=server.url) as http:
        answer = await http.post(
            "/v1/chat/completions",
            headers={"authorization": f"Bearer {server.token()}"},
            json={"model": "openai/gpt-4o", "messages": HELLO, "stream": True},
        )
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in lines)
