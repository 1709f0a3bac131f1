"""What the LangGraph API takes and what it refuses, with the name of what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.serving import Served

REPORT = """# Spring campaign report

The spring campaign reached a conversion rate of 4.7 % over six weeks.
"""
QUESTION = {"messages": [{"role": "user", "content": "What was the conversion rate of the spring campaign?"}]}


@pytest.fixture
async def client(server: Served) -> LangGraphClient:
    await server.upload("campaign.md", REPORT)
    return server.sdk()


BASE: dict[str, Any] = {"assistant_id": "supervisor", "input": QUESTION}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"input": {}}, "input.messages"),
        ({"input": {"messages": []}}, "input.messages"),
        ({"input": {"messages": [{"type": "robot", "content": "x"}]}}, "input.messages[0].type"),
        ({"input": {"messages": [{"role": "user"}]}}, "input.messages[0].content"),
        ({"input": {"messages": [{"role": "user", "content": 5}]}}, "input.messages[0].content"),
        (
            {"input": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}},
            "input.messages[0].content[0].type",
        ),
        ({"input": {"messages": [{"role": "tool", "content": "x"}]}}, "input.messages[0]"),
        ({"stream_mode": ["values", "debug"]}, "stream_mode"),
        ({"multitask_strategy": "rollback"}, "multitask_strategy"),
        ({"multitask_strategy": "shout"}, "multitask_strategy"),
        ({"input": "hello"}, "input"),
        ({"assistant_id": None}, "assistant_id"),
        ({"webhook": "http://127.0.0.1/"}, "webhook"),
        ({"interrupt_before": ["nowhere"]}, "interrupt_before"),
        ({"command": {"resume": 1}}, "command"),
    ],
)
async def test_a_wrong_body_is_named(server: Served, change: dict[str, Any], field: str) -> None:
    async with server.http() as http:
        answer = await http.post("/runs/wait", json={**BASE, **change})
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["message"]


async def test_too_much_text_is_refused(server: Served) -> None:
    text = "x" * (server.settings.max_message_chars + 1)
    async with server.http() as http:
        answer = await http.post(
            "/runs/wait", json={**BASE, "input": {"messages": [{"role": "user", "content": text}]}}
        )
    assert answer.status_code == 413
    assert answer.json()["details"]["limit"] == server.settings.max_message_chars


@pytest.mark.parametrize(
    "messages",
    [
        "What was the conversion rate of the spring campaign?",
        [["user", "What was the conversion rate of the spring campaign?"]],
        [
            {
                "type": "human",
                "content": [{"type": "text", "text": "What was the conversion rate of the spring campaign?"}],
            }
        ],
        {"role": "user", "content": "What was the conversion rate\u0000 of the spring campaign?", "id": "mine"},
    ],
)
async def test_messages_come_in_any_form_clients_send(client: LangGraphClient, messages: Any) -> None:
    values: Any = await client.runs.wait(None, "supervisor", input={"messages": messages})
    assert "4.7 %" in str(values["messages"][-1])
    assert values["messages"][0]["type"] == "human"
    assert values["messages"][0]["id"]
    assert not isinstance(messages, dict) or values["messages"][0]["id"] == "mine"


async def test_a_bad_event_id_is_refused(server: Served, client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread_id, "supervisor", input=QUESTION)
    async with server.http() as http:
        path = f"/threads/{thread_id}/runs/{run['run_id']}/stream"
        assert (await http.get(path, headers={"Last-Event-ID": "soon"})).status_code == 422
        assert (await http.get(path, params={"stream_mode": "events"})).status_code == 422
        whole = await http.get(path, headers={"Last-Event-ID": "-1"})
    assert whole.headers["content-location"] == f"/threads/{thread_id}/runs/{run['run_id']}"
    assert whole.text.startswith("event: metadata\r\n")
    assert "event: end\r\n" in whole.text


async def test_browsers_may_read_what_they_need(server: Served) -> None:
    async with server.http() as http:
        answer = await http.get("/info", headers={"Origin": "http://localhost:3000"})
        asked = await http.options(
            "/threads/x/runs/stream",
            headers={
                "Origin": "http://localhost:3000",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,last-event-id,x-api-key",
            },
        )
    assert answer.headers["access-control-allow-origin"] in ("*", "http://localhost:3000")
    assert "content-location" in answer.headers["access-control-expose-headers"].lower()
    assert asked.status_code == 200
