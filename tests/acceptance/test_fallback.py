"""What a failing model provider costs: before the first token nothing the reader sees, after it a typed error, never half an answer."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import WIRES, Serving
from tests.serving import Served
from tests.upstream.reply import Call, Reply, fixed
from tests.upstream.server import HttpFault, Upstream
from tests.upstream.wires import StreamFault

CONTRACT = "# Contract\n\n## 7. Liability\n\n7.2. The penalty for late delivery is 0.1 % of the price for each day.\n"
QUESTION = {"messages": [{"role": "user", "content": "What is the penalty for late delivery under the contract?"}]}
HELLO = {"messages": [{"role": "user", "content": "hello, who are you?"}]}
FOREVER = 50


async def stream(server: Served, thread_id: str, asked: dict[str, Any]) -> tuple[str, list[Any]]:
    """The text a reader of the run sees, and its error events."""
    text, errors = "", []
    async for part in server.sdk().runs.stream(thread_id, "supervisor", input=asked, stream_mode=["messages-tuple"]):
        if part.event == "messages" and part.data[0]["type"] == "AIMessageChunk":
            text += part.data[0]["content"]
        elif part.event == "error":
            errors.append(part.data)
    return text, errors


def ledger(owner_dsn: str) -> list[tuple[str, str, int, int]]:
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT sum(reserved) FROM quota_days").fetchone() == (0,)
        used = conn.execute("SELECT sum(used) FROM quota_days").fetchone()
        rows = conn.execute(
            "SELECT provider, status, coalesce(prompt, 0), coalesce(completion, 0) FROM usage_ledger ORDER BY created_at"
        ).fetchall()
    assert used == (sum(row[2] + row[3] for row in rows),)
    return rows


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["server_error", "rate_limit", "html", "reset", "unauthorized"])
async def test_a_provider_that_fails_at_once_is_replaced(
    serving: Serving, upstream: Upstream, owner_dsn: str, wire: str, fault: HttpFault
) -> None:
    upstream.fail(fault, times=FOREVER)
    async with serving(upstream, wire) as server:
        await server.upload("contract.md", CONTRACT)
        thread = (await server.sdk().threads.create())["thread_id"]
        text, errors = await stream(server, thread, QUESTION)
        assert errors == []
        assert "0.1 %" in text
        answer = (await server.sdk().threads.get_state(thread))["values"]["messages"][-1]
        assert answer["content"][0]["text"] == text.strip()
    rows = ledger(owner_dsn)
    assert {row[0] for row in rows} == {wire, "extractive"}
    assert all(row[1] != "reserved" for row in rows)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["eof", "reset_midway", "bad_json"])
async def test_a_stream_cut_after_its_first_token_is_begun_anew(
    serving: Serving, owner_dsn: str, wire: str, fault: StreamFault
) -> None:
    """The reader is told what is void, and has one answer in the end; both providers' tokens are charged."""
    with Upstream(fixed("the answer ", "is ", "only ", "half ", "said")) as upstream:
        upstream.fail(fault, after=4, times=FOREVER)
        upstream.chunk_seconds = 0.04
        async with serving(upstream, wire) as server:
            client = server.sdk()
            thread = (await client.threads.create())["thread_id"]
            shown: dict[str, str] = {}
            retracted, removed = [], []
            async for part in client.runs.stream(
                thread, "supervisor", input=HELLO, stream_mode=["messages-tuple", "custom"]
            ):
                assert part.event != "error", part.data
                if part.event == "custom" and part.data["type"] == "retraction":
                    retracted.append(part.data["message_id"])
                if part.event == "messages" and part.data[0]["type"] == "remove":
                    removed.append(part.data[0]["id"])
                elif part.event == "messages":
                    message = part.data[0]
                    shown[message["id"]] = shown.get(message["id"], "") + str(message["content"])
            messages = (await client.threads.get_state(thread))["values"]["messages"]
            assert [message["type"] for message in messages] == ["human", "ai"]
            assert retracted == removed
            assert retracted
            assert all(shown.pop(identifier).startswith("the answer") for identifier in retracted)
            assert messages[-1]["id"] not in retracted
            assert shown[messages[-1]["id"]].strip() == messages[-1]["content"][0]["text"]
            assert "half" not in messages[-1]["content"][0]["text"]
    rows = ledger(owner_dsn)
    assert {row[0] for row in rows} == {wire, "extractive"}
    assert all(row[1] == "committed" and row[3] > 0 for row in rows)


@pytest.mark.parametrize("fault", ["eof_in_arguments", "length_in_arguments", "empty_id"])
async def test_a_broken_tool_call_is_never_executed(serving: Serving, owner_dsn: str, fault: StreamFault) -> None:
    arguments = '{"text": "Our fiscal year starts in April."}'

    def policy(body: dict[str, Any]) -> Reply:
        return Reply(calls=[Call("save_organization_note", arguments, "call_save")])

    with Upstream(policy) as upstream:
        upstream.fail(fault, times=FOREVER, after=FOREVER)
        async with serving(upstream) as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            _, errors = await stream(server, thread, HELLO)
            messages = (await server.sdk().threads.get_state(thread))["values"]["messages"]
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM notes").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM tool_calls").fetchone() == (0,)
    assert [m for m in messages if m["type"] == "tool"] == []
    # either it is an error, or another provider answered
    assert len(errors) == 1 or messages[-1]["response_metadata"]["stop_reason"]
    ledger(owner_dsn)


async def test_a_provider_that_was_asked_for_gives_its_own_refusal(serving: Serving, upstream: Upstream) -> None:
    upstream.fail("unauthorized", times=FOREVER)
    async with serving(upstream) as server:
        async with server.http() as http:
            body = {"assistant_id": "supervisor", "input": HELLO, "context": {"provider": "openai"}}
            answer = (await http.post("/runs/wait", json=body)).json()
    assert answer["__error__"]["error_code"] == "provider_rejected"
    assert "sk-" not in str(answer)
