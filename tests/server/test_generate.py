"""`POST /internal/llm/generate`: one answer of a model or of an agent, with what it took."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.serving import Served, serve, settings_for
from tests.upstream.reply import Call, Reply, fixed, script
from tests.upstream.server import Upstream

URL = "/internal/llm/generate"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.fixture
async def model(
    owner_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Upstream, Served]]:
    """A scripted model as `openai`, and a server that has no other."""
    with Upstream(fixed("Three [1] ", "of them.")) as upstream:
        monkeypatch.setenv("OPENAI_BASE_URL", upstream.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key-that-must-not-be-seen-anywhere")
        async with serve(settings_for(owner_dsn, tmp_path)) as server:
            yield upstream, server


async def post(server: Served, **body: Any) -> httpx.Response:
    async with server.http(role="member") as http:
        return await http.post(URL, json=body)


async def test_a_model_answers_as_it_is(model: tuple[Upstream, Served], owner_dsn: str) -> None:
    upstream, server = model
    answer = await post(
        server, prompt="How many?", system="Be brief.", model="openai/gpt-4o", max_output_tokens=50, temperature=0.2
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    meta = body.pop("meta")
    # a model's own brackets are no citations of ours
    assert body == {
        "answer": "Three [1] of them.",
        "used_tokens": {"prompt": 10, "completion": 5},
        "tools_called": [],
    }
    assert meta.pop("latency_ms") >= 0
    assert meta.pop("trace_id") == answer.headers["x-trace-id"]
    assert meta == {
        "model": "gpt-4o",
        "provider": "openai",
        "fallback": False,
        "agent": None,
        "tool_steps": 0,
        "stop_reason": "completed",
    }
    [request] = upstream.requests
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["temperature"] == 0.2
    assert request.get("max_completion_tokens", request.get("max_tokens")) == 50
    assert "tools" not in request
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT sum(reserved), sum(used) FROM quota_days").fetchone() == (0, 15)
        assert conn.execute("SELECT agent, purpose FROM model_calls").fetchall() == [("generate", "generate")]


async def test_messages_are_a_conversation(model: tuple[Upstream, Served]) -> None:
    upstream, server = model
    said = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "How many?"},
    ]
    assert (await post(server, messages=said)).status_code == 200
    assert [message["content"] for message in upstream.requests[0]["messages"]] == ["Hello", "Hi", "How many?"]


async def test_json_is_mended_by_a_stronger_model(model: tuple[Upstream, Served]) -> None:
    upstream, server = model
    upstream.policy = script(Reply(['{"n": "three"}']), Reply(['{"n": 3}']))
    body = (await post(server, prompt="How many?", mode="json", response_schema=SCHEMA)).json()
    assert body["parsed"] == {"n": 3}
    assert json.loads(body["answer"]) == {"n": 3}
    assert body["meta"]["repaired"] == "model"
    assert body["used_tokens"] == {"prompt": 20, "completion": 10}
    assert body["meta"]["model"] == upstream.requests[1]["model"] != upstream.requests[0]["model"]
    assert upstream.requests[0]["response_format"]["json_schema"]["schema"] == SCHEMA


async def test_what_stays_wrong_is_a_typed_error(model: tuple[Upstream, Served]) -> None:
    upstream, server = model
    upstream.policy = fixed("I'd rather not.")
    for agent in ({}, {"agent": "supervisor"}):
        answer = await post(server, prompt="How many?", mode="json", response_schema=SCHEMA, **agent)
        assert answer.status_code == 502
        assert answer.json()["error_code"] == "invalid_structured_output"
        assert answer.json()["details"]["errors"][0]["path"] == "$"
        assert "rather" not in answer.text


async def test_an_agent_works_to_its_end_and_leaves_nothing(model: tuple[Upstream, Served], owner_dsn: str) -> None:
    upstream, server = model
    await server.upload("order.md", "# Order\n\nVolna orders 3 pumps.\n")
    search = Reply(calls=[Call("search_documents", '{"query": "pumps"}')])
    upstream.policy = script(search, Reply(["Three."]))
    answer = await post(server, prompt="How many?", agent="legal_agent")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["answer"] == "Three."
    assert body["used_tokens"] == {"prompt": 20, "completion": 10}
    [called] = body["tools_called"]
    assert called.pop("duration_ms") >= 0
    assert called == {
        "agent": "legal_agent",
        "name": "search_documents",
        "arguments": {"query": "pumps"},
        "status": "succeeded",
    }
    assert body["meta"]["tool_steps"] == 1
    assert body["meta"]["agent"] == "legal_agent"
    assert body["meta"]["provider"] == "openai"
    assert body["meta"]["stop_reason"] == "completed"
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM threads").fetchone() == (0,)


async def test_a_delegation_is_a_tool_call(model: tuple[Upstream, Served]) -> None:
    upstream, server = model

    def policy(body: dict[str, Any]) -> Reply:
        names = {tool["function"]["name"] for tool in body.get("tools", [])}
        if "finish_subagent" in names:
            return Reply(calls=[Call("finish_subagent", '{"summary": "Three.", "citations": []}', "done")])
        if any(message["role"] == "tool" for message in body["messages"]):
            return Reply(['{"n": 3}'])
        task = {"agent": "legal_agent", "task": "How many?", "context": ""}
        return Reply(calls=[Call("switch_to_subagent", json.dumps(task), "switch")])

    upstream.policy = policy
    body = (await post(server, prompt="How many?", agent="supervisor", mode="json", response_schema=SCHEMA)).json()
    assert body["parsed"] == {"n": 3}
    assert {(call["agent"], call["name"], call["status"]) for call in body["tools_called"]} == {
        ("main", "switch_to_subagent", "succeeded"),
        ("legal_agent", "finish_subagent", "succeeded"),
    }
    assert body["used_tokens"] == {"prompt": 30, "completion": 15}
    assert body["meta"]["tool_steps"] == 1


async def test_whoever_stood_in_is_named(model: tuple[Upstream, Served]) -> None:
    upstream, server = model
    upstream.fail("unauthorized", times=20)
    body = (await post(server, prompt="hello, who are you?")).json()
    assert body["meta"]["provider"] == "extractive"
    assert body["meta"]["fallback"] is True
    asked = await post(server, prompt="hello", provider="openai")
    assert asked.status_code == 502
    assert asked.json()["error_code"] == "provider_rejected"
    assert "sk-" not in asked.text


async def test_time_runs_out(model: tuple[Upstream, Served], owner_dsn: str) -> None:
    upstream, server = model
    upstream.policy = lambda body: Reply(["never", "ending"], stall_after=1)
    for agent in ({}, {"agent": "supervisor"}):
        answer = await post(server, prompt="How many?", timeout_ms=300, **agent)
        assert answer.status_code == 504
        assert answer.json()["error_code"] == "timeout"
        assert answer.json()["details"] == {"seconds": 0.3}


async def test_a_caller_that_leaves_ends_the_work(model: tuple[Upstream, Served]) -> None:
    upstream, server = model
    upstream.policy = lambda body: Reply(["never", "ending"], stall_after=1)
    async with server.http() as http:
        asking = asyncio.create_task(http.post(URL, json={"prompt": "How many?", "provider": "openai"}))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    while not upstream.disconnects:
        await asyncio.sleep(0.01)


async def test_no_tokens_no_answer(model: tuple[Upstream, Served]) -> None:
    upstream, server = model
    async with server.http(role="admin") as http:
        limits = [{"scope": "organization", "daily_tokens": 5}]
        assert (await http.put("/v1/quotas", json={"limits": limits})).status_code == 200
    for agent in ({}, {"agent": "supervisor"}):
        answer = await post(server, prompt="How many?", **agent)
        assert answer.status_code == 429
        assert answer.json()["error_code"] == "quota_exceeded"
        assert answer.json()["details"]["resets_at"]
        assert int(answer.headers["retry-after"]) > 0
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 422, "prompt"),
        ({"prompt": "a", "messages": []}, 422, "messages"),
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, 422, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, 422, "messages"),
        ({"prompt": "a", "temperature": 9}, 422, "body.temperature"),
        ({"prompt": "a", "temprature": 1}, 422, "body.temprature"),
        ({"prompt": "a", "timeout_ms": 0}, 422, "body.timeout_ms"),
        ({"prompt": "a", "response_schema": SCHEMA}, 422, "body.response_schema"),
        ({"prompt": "a", "mode": "json", "response_schema": {"type": "obj"}}, 422, "body.response_schema.type"),
        ({"prompt": "a", "mode": "answer"}, 422, "body.mode"),
        ({"prompt": "a", "agent": "supervisor", "system": "b"}, 422, "body.system"),
        ({"prompt": "a", "agent": "nobody"}, 404, "nobody"),
    ],
)
async def test_bad_input_is_named(server: Served, body: dict[str, Any], status: int, named: str) -> None:
    answer = await post(server, **body)
    assert answer.status_code == status, answer.text
    assert named in answer.json()["message"]


@pytest.mark.parametrize(
    "named", [{"model": "no-such-model"}, {"provider": "nobody"}, {"model": "no-such-model", "agent": "supervisor"}]
)
async def test_an_unknown_model_is_refused(model: tuple[Upstream, Served], named: dict[str, str]) -> None:
    upstream, server = model
    answer = await post(server, prompt="a", **named)
    assert answer.status_code == 404
    assert answer.json()["error_code"] == "unknown_model"
    assert {"openai/gpt-4o-mini", "openai/gpt-4o", "extractive/extractive"} <= set(
        answer.json()["details"]["available"]
    )
    assert upstream.requests == []


async def test_a_key_that_is_missing_or_refused_is_named_by_its_variable(model: tuple[Upstream, Served]) -> None:
    upstream, server = model
    missing = await post(server, prompt="a", provider="anthropic")
    assert missing.status_code == 422
    assert missing.json()["error_code"] == "no_provider"
    assert "ANTHROPIC_API_KEY" in missing.json()["message"]
    upstream.fail("unauthorized", times=20)
    refused = await post(server, prompt="a", provider="openai")
    assert refused.status_code == 502
    assert refused.json()["error_code"] == "provider_rejected"
    assert "OPENAI_API_KEY" in refused.json()["message"]
    for answer in (missing, refused):
        assert "sk-a-key" not in answer.text


@pytest.mark.parametrize("agent", [{}, {"agent": "supervisor"}])
async def test_wishes_are_heard(model: tuple[Upstream, Served], agent: dict[str, str]) -> None:
    upstream, server = model
    body = (await post(server, prompt="hello, who are you?", local_only=True, **agent)).json()
    assert body["meta"]["provider"] == "extractive"
    assert upstream.requests == []
    contradictory = await post(server, prompt="a", local_only=True, force_cloud=True, **agent)
    assert contradictory.status_code == 422
    assert contradictory.json()["details"]["field"].endswith("force_cloud")
    assert "local_only protects data and wins" in contradictory.json()["message"]
    cloud = await post(server, prompt="a", local_only=True, model="openai/gpt-4o", **agent)
    assert cloud.status_code == 422
    assert "local_only" in cloud.json()["message"]


async def test_the_organisations_policy_holds_here_too(model: tuple[Upstream, Served]) -> None:
    upstream, server = model
    async with server.http(role="admin") as http:
        assert (await http.put("/v1/policies/organization", json={"model": "openai/gpt-4.1"})).status_code == 200
    assert (await post(server, prompt="a")).json()["meta"]["model"] == "gpt-4.1"
    assert (await post(server, prompt="a", model="gpt-4o")).json()["meta"]["model"] == "gpt-4o"
    assert [request["model"] for request in upstream.requests] == ["gpt-4.1", "gpt-4o"]


@pytest.mark.parametrize(
    ("said", "repaired"),
    [
        ('{"n": 3}', "none"),
        ('```json\n{"n": 3}\n```', "local"),
        ('Of course: {"n": 3}. Anything else?', "local"),
        ('{"n": 3', "local"),
        ("{'n': 3,}", "local"),
    ],
)
async def test_what_surrounds_json_is_taken_off(model: tuple[Upstream, Served], said: str, repaired: str) -> None:
    upstream, server = model
    upstream.policy = fixed(said)
    body = (await post(server, prompt="How many?", mode="json", response_schema=SCHEMA)).json()
    assert body["parsed"] == json.loads(body["answer"]) == {"n": 3}
    assert body["meta"]["repaired"] == repaired
    assert len(upstream.requests) == 1


async def test_json_is_not_asked_for_unasked(model: tuple[Upstream, Served]) -> None:
    upstream, server = model
    upstream.policy = fixed('{"n": 3}')
    body = (await post(server, prompt="How many?")).json()
    assert body["answer"] == '{"n": 3}'
    assert "parsed" not in body
    assert "response_format" not in upstream.requests[0]


async def test_a_failed_attempt_costs_what_it_used(model: tuple[Upstream, Served], owner_dsn: str) -> None:
    """A stream cut off is paid for, and the answer that came instead; one wrong form of it, and its correction."""
    upstream, server = model
    upstream.policy = script(Reply(["I ", "think ", "three"]), Reply(["three"]), Reply(['{"n": 3}']))
    upstream.fail("eof", after=2)
    answer = await post(server, prompt="How many?", mode="json", response_schema=SCHEMA)
    body = answer.json()
    assert body["parsed"] == {"n": 3}
    assert len(upstream.requests) == 3
    async with server.http(role="manager") as http:
        explained = (await http.get(f"/v1/explain/{body['meta']['trace_id']}")).json()
    assert [call["purpose"] for call in explained["calls"]] == ["generate", "repair"]
    attempts = [attempt for call in explained["calls"] for attempt in call["attempts"]]
    assert [attempt["outcome"] for attempt in attempts] == ["failed", "answered", "answered"]
    assert attempts[0]["reason"] == "no_finish"
    assert attempts[0]["completion_tokens"] > 0
    assert explained["tokens"] == body["used_tokens"]
    with psycopg.connect(owner_dsn) as conn:
        settled = conn.execute("SELECT sum(prompt), sum(completion), count(*) FROM usage_ledger").fetchone()
        assert settled == (body["used_tokens"]["prompt"], body["used_tokens"]["completion"], 3)
        used = conn.execute("SELECT sum(reserved), sum(used) FROM quota_days").fetchone()
        assert used == (0, sum(body["used_tokens"].values()))


async def test_what_failed_is_explained_to_whom_it_concerns(model: tuple[Upstream, Served]) -> None:
    upstream, server = model
    upstream.policy = fixed("no JSON at all")
    failed = await post(server, prompt="How many?", mode="json", response_schema=SCHEMA)
    path = f"/v1/explain/{failed.json()['trace_id']}"
    async with server.http(role="member") as ann, server.http(user="eve", role="manager") as manager:
        own = await ann.get(path)
        assert [call["purpose"] for call in own.json()["calls"]] == ["generate", "repair", "repair"]
        first = own.json()["calls"][0]["candidates"][0]
        assert first["model"] == "gpt-4o-mini"
        assert first["score"] == {
            "last_resort": False, "left_alone": False, "after_wish": False, "against_wish": False,
            "precedence": 4 if first["reason"] == "default" else 5,
        }  # fmt: skip
        assert own.json()["tokens"] == {"prompt": 30, "completion": 15}
        assert "JSON at all" not in own.text
        assert (await manager.get(path)).json() == own.json()
    async with server.http(user="bob", role="member") as bob, server.http("globex", role="admin") as foreign:
        for nobody in (bob, foreign):
            assert (await nobody.get(path)).status_code == 404


async def test_too_many_requests_are_refused(model: tuple[Upstream, Served]) -> None:
    _, server = model
    async with server.http(role="admin") as http:
        assert (await http.put("/v1/quotas", json={"rates": {"user": 1}})).status_code == 200
    assert (await post(server, prompt="a")).status_code == 200
    refused = await post(server, prompt="a")
    assert refused.status_code == 429
    assert refused.json()["error_code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) > 0


async def test_a_token_is_needed(server: Served) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.post(URL, json={"prompt": "a"})).status_code == 401
