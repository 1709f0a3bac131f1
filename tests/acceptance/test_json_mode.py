"""A run in the mode `json`: one JSON value or a typed failure, whatever the model says; a run in the mode `answer`: documents only."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import WIRES, Serving
from tests.serving import Served
from tests.upstream.reply import Call, Policy, Reply, fixed, script
from tests.upstream.server import Upstream

ASKED = {"messages": [{"role": "user", "content": "Who is the buyer, and how many pumps did they order?"}]}
SCHEMA = {
    "type": "object",
    "properties": {"buyer": {"type": "string"}, "pumps": {"type": "integer"}},
    "required": ["buyer", "pumps"],
    "additionalProperties": False,
}
RIGHT = {"buyer": "Volna [1]", "pumps": 3}


def said(value: Any) -> Reply:
    return Reply([value if isinstance(value, str) else json.dumps(value)])


async def run(server: Served, schema: dict[str, Any] | None, **context: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values a run in the mode `json` ends with, and its explanation."""
    asked = {"mode": "json", **({"response_schema": schema} if schema else {}), **context}
    client = server.sdk()
    thread = (await client.threads.create())["thread_id"]
    created = await client.runs.create(thread, "supervisor", input=ASKED, context=asked)
    async with server.http() as http:
        values = (await http.get(f"/threads/{thread}/runs/{created['run_id']}/join")).json()
        explained = (await http.get(f"/threads/{thread}/runs/{created['run_id']}/explain")).json()
    values["thread_id"] = thread
    return values, explained


def answer_of(values: dict[str, Any]) -> dict[str, Any]:
    assert "__error__" not in values, values
    answer: dict[str, Any] = values["messages"][-1]
    assert isinstance(answer["content"], str)
    assert json.loads(answer["content"]) == answer["additional_kwargs"]["parsed"]
    assert answer["response_metadata"]["structured"] is True
    return answer


@pytest.mark.parametrize("schema", [SCHEMA, None])
async def test_a_provider_that_has_it_is_asked_for_structured_output(
    serving: Serving, schema: dict[str, Any] | None
) -> None:
    with Upstream(fixed('{"buyer": "Volna [1]", ', '"pumps": 3}')) as upstream:
        async with serving(upstream) as server:
            values, explained = await run(server, schema)
    answer = answer_of(values)
    # brackets in strings are no citations, and nothing is stripped
    assert answer["content"] == '{"buyer": "Volna [1]", "pumps": 3}'
    assert answer["additional_kwargs"]["parsed"] == RIGHT
    assert answer["response_metadata"]["repaired"] == "none"
    assert answer["response_metadata"]["stop_reason"] == "completed"
    assert answer["response_metadata"]["provider"] == "openai"
    [request] = upstream.requests
    if schema is None:
        assert request["response_format"] == {"type": "json_object"}
    else:
        wanted = {"name": "answer", "schema": schema, "strict": True}
        assert request["response_format"] == {"type": "json_schema", "json_schema": wanted}
    assert "JSON" in request["messages"][0]["content"]
    assert [call["purpose"] for call in explained["calls"]] == ["answer"]


@pytest.mark.parametrize("mode", ["chat", "answer"])
async def test_json_is_asked_for_only_on_request(serving: Serving, mode: str) -> None:
    with Upstream(fixed("They ordered three.")) as upstream:
        async with serving(upstream) as server:
            values = await server.sdk().runs.wait(None, "supervisor", input=ASKED, context={"mode": mode})
    [request] = upstream.requests
    assert "response_format" not in request
    assert "JSON" not in request["messages"][0]["content"]
    assert "structured" not in values["messages"][-1]["response_metadata"]  # type: ignore[index, call-overload]
    assert ("tools" in request) == (mode == "chat")


@pytest.mark.parametrize("wire", WIRES)
async def test_a_provider_without_it_is_told_in_the_prompt(serving: Serving, wire: str) -> None:
    context = {} if wire == "ollama" else {"model": f"{wire}/unlisted"}
    with Upstream(fixed(json.dumps(RIGHT))) as upstream:
        async with serving(upstream, wire) as server:
            values, _ = await run(server, SCHEMA, **context)
    assert answer_of(values)["additional_kwargs"]["parsed"] == RIGHT
    [request] = upstream.requests
    # with tools Ollama would write JSON where it should call one
    assert not {"response_format", "format", "output_config"} & set(request)
    assert '"additionalProperties' in json.dumps(request, ensure_ascii=False).replace("\\", "")


async def test_claude_is_held_to_the_schema(serving: Serving) -> None:
    with Upstream(script(said("three"), said(RIGHT))) as upstream:
        async with serving(upstream, "anthropic") as server:
            values, _ = await run(server, SCHEMA)
    assert answer_of(values)["additional_kwargs"]["parsed"] == RIGHT
    for request in upstream.requests:
        assert request["output_config"]["format"] == {"type": "json_schema", "schema": SCHEMA}
        assert "JSON" in json.dumps(request["system"])


async def test_ollama_keeps_to_the_schema_where_no_tool_can_be_called(serving: Serving) -> None:
    with Upstream(script(said("no idea"), said(RIGHT))) as upstream:
        async with serving(upstream, "ollama") as server:
            values, _ = await run(server, SCHEMA)
    assert answer_of(values)["response_metadata"]["repaired"] == "model"
    assert "format" not in upstream.requests[0]
    assert upstream.requests[1]["format"] == SCHEMA
    assert not upstream.requests[1].get("tools")


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"buyer": "Volna [1]", "pumps": 3}\n```',
        'Here it is: {"buyer": "Volna [1]", "pumps": 3} I hope it helps.',
        "{'buyer': 'Volna [1]', pumps: 3,}",
        '{"buyer": "Volna [1]", "pumps": 3',
    ],
)
async def test_what_can_be_mended_here_costs_no_call(serving: Serving, text: str) -> None:
    with Upstream(fixed(text)) as upstream:
        async with serving(upstream) as server:
            values, _ = await run(server, SCHEMA)
            messages = (await server.sdk().threads.get_state(values["thread_id"]))["values"]["messages"]
    answer = answer_of(values)
    assert answer["additional_kwargs"]["parsed"] == RIGHT
    assert answer["response_metadata"]["repaired"] == "local"
    assert len(upstream.requests) == 1
    assert [message["type"] for message in messages] == ["human", "ai"]


async def test_a_stronger_model_corrects_what_is_wrong(serving: Serving, owner_dsn: str) -> None:
    with Upstream(script(said({"buyer": "Volna"}), said(RIGHT))) as upstream:
        async with serving(upstream) as server:
            values, explained = await run(server, SCHEMA)
    answer = answer_of(values)
    assert answer["additional_kwargs"]["parsed"] == RIGHT
    assert answer["response_metadata"]["repaired"] == "model"
    assert answer["usage_metadata"]["total_tokens"] == 30
    first, second = upstream.requests
    assert second["model"] != first["model"]
    assert answer["response_metadata"]["model"] == second["model"]
    assert "tools" not in second
    assert second["response_format"]["json_schema"]["schema"] == SCHEMA
    assert second["messages"][-2] == {"role": "assistant", "content": '{"buyer": "Volna"}'}
    assert "'pumps' is a required property" in second["messages"][-1]["content"]
    assert [(call["purpose"], call["outcome"]) for call in explained["calls"]] == [
        ("answer", "answered"),
        ("repair", "answered"),
    ]
    repair = explained["calls"][1]
    assert (repair["provider"], repair["model"]) == ("openai", second["model"])
    assert {candidate["reason"] for candidate in repair["candidates"]} == {"repair"}
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT sum(reserved), sum(used) FROM quota_days").fetchone() == (0, 30)


async def test_what_nobody_gets_right_is_a_typed_failure(serving: Serving) -> None:
    with Upstream(fixed('{"buyer": 7, "pumps": "many"}')) as upstream:
        async with serving(upstream) as server:
            values, explained = await run(server, SCHEMA)
            client = server.sdk()
            messages = (await client.threads.get_state(values["thread_id"]))["values"]["messages"]
            assert (await client.threads.get(values["thread_id"]))["status"] == "error"
    error = values["__error__"]
    assert error["error_code"] == "invalid_structured_output"
    assert [wrong["path"] for wrong in error["details"]["errors"]] == ["$.buyer", "$.pumps"]
    assert [call["purpose"] for call in explained["calls"]] == ["answer", "repair", "repair"]
    # what it said is nowhere shown as an answer
    assert [message["type"] for message in messages] == ["human"]


async def test_readers_are_told_that_a_draft_is_void(serving: Serving) -> None:
    shown: dict[str, str] = {}
    removed: list[str] = []
    retracted: list[str] = []
    with Upstream(script(Reply(["I don't ", "know"]), said(RIGHT))) as upstream:
        async with serving(upstream) as server:
            stream = server.sdk().runs.stream(
                None,
                "supervisor",
                input=ASKED,
                context={"mode": "json", "response_schema": SCHEMA},
                stream_mode=["messages-tuple", "custom"],
            )
            async for part in stream:
                if part.event == "custom" and part.data["type"] == "retraction":
                    retracted.append(part.data["message_id"])
                elif part.event == "messages":
                    message = part.data[0]
                    if message["type"] == "remove":
                        removed.append(message["id"])
                    else:
                        shown[message["id"]] = shown.get(message["id"], "") + message["content"]
    left = {key: text for key, text in shown.items() if key not in removed}
    assert removed == retracted
    assert [shown[key] for key in removed] == ["I don't know"]
    assert [json.loads(text) for text in left.values()] == [RIGHT]


async def test_an_answer_that_was_cut_off_is_not_mended(serving: Serving) -> None:
    cut = Reply(['{"buyer": "Vol'], finish="length")
    with Upstream(script(cut, said(RIGHT))) as upstream:
        async with serving(upstream) as server:
            values, _ = await run(server, None)
    assert answer_of(values)["additional_kwargs"]["parsed"] == RIGHT
    assert "cut off" in upstream.requests[1]["messages"][-1]["content"]


async def test_tools_can_be_used_before_the_answer(serving: Serving) -> None:
    search = Reply(calls=[Call("search_documents", '{"query": "pumps"}')])
    with Upstream(script(search, said(RIGHT))) as upstream:
        async with serving(upstream) as server:
            await server.upload("order.md", "# Order\n\nVolna orders 3 pumps of the type P-40.\n")
            values, _ = await run(server, SCHEMA)
    assert answer_of(values)["additional_kwargs"]["parsed"] == RIGHT
    assert [message["type"] for message in values["messages"]] == ["human", "ai", "tool", "ai"]
    assert values["citations"] == []


async def test_a_specialist_speaks_prose_to_the_supervisor(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        names = {tool["function"]["name"] for tool in body.get("tools", [])}
        if "finish_subagent" in names:
            return Reply(calls=[Call("finish_subagent", '{"summary": "Volna ordered 3.", "citations": []}', "done")])
        if any(message["role"] == "tool" for message in body["messages"]):
            return said(RIGHT)
        task = {"agent": "legal_agent", "task": "Who ordered?", "context": ""}
        return Reply(calls=[Call("switch_to_subagent", json.dumps(task), "switch")])

    with Upstream(policy) as upstream:
        async with serving(upstream) as server:
            values, _ = await run(server, SCHEMA)
    assert answer_of(values)["additional_kwargs"]["parsed"] == RIGHT
    asked = [request.get("response_format") is not None for request in upstream.requests]
    assert asked == [True, False, True]


def talkative() -> Policy:
    """A specialist that speaks to the user."""

    def policy(body: dict[str, Any]) -> Reply:
        names = {tool["function"]["name"] for tool in body.get("tools", [])}
        if "finish_subagent" in names:
            return Reply(["Three pumps, for Volna. Anything else?"])
        if "switch_to_subagent" in names:
            task = {"agent": "legal_agent", "task": "Talk about the order.", "context": ""}
            called = any(message["role"] == "tool" for message in body["messages"])
            return (
                Reply(["They are asking you."])
                if called
                else Reply(calls=[Call("switch_to_subagent", json.dumps(task))])
            )
        return said(RIGHT)

    return policy


async def test_what_an_active_child_says_becomes_json(serving: Serving) -> None:
    with Upstream(talkative()) as upstream:
        async with serving(upstream) as server:
            client = server.sdk()
            thread = (await client.threads.create())["thread_id"]
            await client.runs.wait(thread, "supervisor", input=ASKED)
            asked = {"mode": "json", "response_schema": SCHEMA}
            values: Any = await client.runs.wait(thread, "supervisor", input=ASKED, context=asked)
    answer = answer_of(values)
    assert answer["additional_kwargs"]["parsed"] == RIGHT
    assert answer["response_metadata"]["repaired"] == "model"
    assert "Three pumps" in json.dumps(upstream.requests[-1]["messages"])


async def test_without_a_model_an_answer_is_quotes_in_json(serving: Serving) -> None:
    async with serving(None, None) as server:
        document = await server.upload("order.md", "# Order\n\nThe buyer Volna ordered three pumps of the type P-40.\n")
        values, _ = await run(server, None)
    answer = answer_of(values)
    parsed = answer["additional_kwargs"]["parsed"]
    assert set(parsed) == {"answer", "citations"}
    assert "Volna" in parsed["answer"]
    assert parsed["citations"] == values["citations"]
    assert parsed["citations"][0]["document_id"] == document
    assert answer["response_metadata"]["provider"] == "extractive"


async def test_quotes_never_stand_in_for_json_of_a_schema(serving: Serving) -> None:
    body = {"assistant_id": "supervisor", "input": ASKED, "context": {"mode": "json", "response_schema": SCHEMA}}
    async with serving(None, None) as server, server.http() as http:
        refused = await http.post("/runs/wait", json=body)
        explicit = await http.post("/runs/wait", json={**body, "context": {**body["context"], "model": "extractive"}})
    assert refused.status_code == explicit.status_code == 422
    assert refused.json()["error_code"] == explicit.json()["error_code"] == "no_provider"
    assert "schema" in refused.json()["message"]


async def test_a_failing_provider_is_not_replaced_by_quotes(serving: Serving, upstream: Upstream) -> None:
    upstream.fail("unauthorized", times=20)
    async with serving(upstream) as server:
        values, _ = await run(server, SCHEMA)
    assert values["__error__"]["error_code"] == "provider_rejected"


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ({"mode": "json", "response_schema": {"properties": {"age": {"type": "strng"}}}}, "context.response_schema.properties.age.type"),
        ({"mode": "json", "response_schema": {"$ref": "https://example.com/a.json"}}, "context.response_schema.$ref"),
        ({"mode": "json", "response_schema": {"$ref": "#"}}, "context.response_schema"),
        ({"mode": "json", "response_schema": {"items": {"pattern": "("}}}, "context.response_schema.items.pattern"),
        ({"mode": "json", "response_schema": []}, "context.response_schema"),
        ({"mode": "json", "response_schema": {"description": "x" * 40_000}}, "context.response_schema"),
        ({"response_schema": SCHEMA}, "context.response_schema"),
        ({"mode": "yaml"}, "context.mode"),
    ],
)  # fmt: skip
async def test_a_wrong_schema_is_refused_at_the_door(serving: Serving, context: dict[str, Any], field: str) -> None:
    async with serving(None, None) as server:
        async with server.http() as http:
            body = {"assistant_id": "supervisor", "input": ASKED, "context": context}
            refused = await http.post("/runs/wait", json=body)
            configured = await http.post(
                "/runs/wait", json={**body, "context": {}, "config": {"configurable": context}}
            )
    assert refused.status_code == 422
    assert refused.json()["message"].startswith(f"{field}: ")
    assert configured.status_code == 422
    assert configured.json()["details"]["field"] == field.replace("context", "config.configurable", 1)


async def test_the_mode_answer_uses_documents_and_no_tools(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server:
        await server.upload("order.md", "# Order\n\nThe buyer Volna ordered three pumps of the type P-40.\n")
        values: Any = await server.sdk().runs.wait(None, "supervisor", input=ASKED, context={"mode": "answer"})
    assert all("tools" not in request for request in upstream.requests)
    assert [message["type"] for message in values["messages"]] == ["human", "ai"]
    assert "Volna" in values["messages"][-1]["content"][0]["text"]
    assert len(values["citations"]) == 1
