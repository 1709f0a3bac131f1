"""The life of a run as a client sees it: cancelled, followed again, repeated, refused."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import httpx
import psycopg

from tests.acceptance.conftest import Serving
from tests.serving import Served
from tests.upstream.reply import fixed
from tests.upstream.server import Upstream

MESSAGES = {"messages": [{"role": "user", "content": "hello, who are you?"}]}


async def wait_for(server: Served, thread_id: str, run_id: str, *states: str) -> dict[str, Any]:
    """The run once it is in one of the states."""
    client = server.sdk()
    async with asyncio.timeout(30):
        while (run := await client.runs.get(thread_id, run_id))["status"] not in states:
            await asyncio.sleep(0.02)
    return dict(run)


async def test_a_cancelled_run_leaves_nothing_open(serving: Serving, owner_dsn: str) -> None:
    with Upstream(fixed(*["a long answer "] * 200)) as upstream:
        upstream.fail("stall", after=5)
        async with serving(upstream) as server:
            client = server.sdk()
            thread = await client.threads.create()
            run = await client.runs.create(thread["thread_id"], "supervisor", input=MESSAGES)
            async for part in client.runs.join_stream(
                thread["thread_id"], run["run_id"], stream_mode=["messages-tuple"]
            ):
                if part.event == "messages":
                    break
            await client.runs.cancel(thread["thread_id"], run["run_id"], wait=True)
            assert (await client.runs.get(thread["thread_id"], run["run_id"]))["status"] == "interrupted"
            assert (await client.threads.get(thread["thread_id"]))["status"] == "idle"
            upstream.policy = fixed("fine")
            values = await client.runs.wait(thread["thread_id"], "supervisor", input=MESSAGES)
            assert "fine" in str(values["messages"][-1]["content"])
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT sum(reserved) FROM quota_days").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM tool_calls WHERE status IN ('pending', 'running')").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)


async def test_a_client_that_comes_back_gets_the_rest(serving: Serving, owner_dsn: str) -> None:
    with Upstream(fixed("one two three four five six seven eight nine ten")) as upstream:
        async with serving(upstream) as server:
            client = server.sdk()
            thread = await client.threads.create()
            modes = ["messages-tuple", "updates", "custom", "values"]
            run = await client.runs.create(thread["thread_id"], "supervisor", input=MESSAGES, stream_mode=modes)
            whole = await read(server, thread["thread_id"], run["run_id"], modes, None)
            await wait_for(server, thread["thread_id"], run["run_id"], "success")
            again = await read(server, thread["thread_id"], run["run_id"], modes, None)
            assert [e for e in again if e[0] != "values"] == [e for e in whole if e[0] != "values"]
            assert again[-2][0] == "values"
            assert again[-2][2] == [e for e in whole if e[0] == "values"][-1][2]
            for cut in (1, len(again) // 2, len(again) - 1):
                rest = await read(server, thread["thread_id"], run["run_id"], modes, again[cut - 1][1])
                assert rest == again[cut:]
    with psycopg.connect(owner_dsn) as conn:
        rows = conn.execute("SELECT seq_first, seq_last, terminal FROM run_events ORDER BY seq_first").fetchall()
    assert rows[0][0] == 1
    assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(rows))
    assert [row[2] for row in rows].count(True) == 1


async def read(
    server: Served, thread_id: str, run_id: str, modes: list[str], last: str | None
) -> list[tuple[str, str, str]]:
    """The stream of a run as (event, id, data), heartbeats apart."""
    headers = {} if last is None else {"Last-Event-ID": last}
    events: list[tuple[str, str, str]] = []
    async with server.http() as http:
        answer = await http.get(
            f"/threads/{thread_id}/runs/{run_id}/stream", params={"stream_mode": modes}, headers=headers
        )
    for block in answer.text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in fields:
            events.append((fields["event"], fields.get("id", ""), fields.get("data", "")))
    return events


async def test_a_disconnect_does_not_stop_a_run(serving: Serving) -> None:
    with Upstream(fixed("slowly but surely")) as upstream:
        async with serving(upstream) as server:
            client = server.sdk()
            thread = await client.threads.create()
            body = {"assistant_id": "supervisor", "input": MESSAGES, "stream_mode": ["messages-tuple"]}
            async with server.http() as http:
                async with http.stream("POST", f"/threads/{thread['thread_id']}/runs/stream", json=body) as answer:
                    run_id = answer.headers["content-location"].rsplit("/", 1)[1]
            run = await wait_for(server, thread["thread_id"], run_id, "success", "error", "interrupted")
            assert run["status"] == "success"


async def test_fifty_repeats_of_a_request_are_one_run(serving: Serving, owner_dsn: str) -> None:
    async with serving(None, None) as server, server.http() as http:
        thread = (await http.post("/threads", json={})).json()
        path, body = f"/threads/{thread['thread_id']}/runs", {"assistant_id": "supervisor", "input": MESSAGES}

        async def submit(sent: dict[str, Any]) -> httpx.Response:
            return await http.post(path, json=sent, headers={"Idempotency-Key": "k-1"})

        body["input"] = {"messages": [{"role": "user", "content": "hello", "id": "m-1"}]}
        answers = await asyncio.gather(*(submit(body) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["run_id"] for answer in answers}) == 1
        other = await submit({**body, "metadata": {"another": "body"}})
        assert other.status_code == 409
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM runs").fetchone() == (1,)


async def test_a_repeat_without_a_thread_is_one_run_too(serving: Serving) -> None:
    sent = {"assistant_id": "supervisor", "input": MESSAGES, "on_completion": "keep"}
    async with serving(None, None) as server, server.http() as http:
        answers = [await http.post("/runs", json=sent, headers={"Idempotency-Key": "k-2"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json()["run_id"] == answers[1].json()["run_id"]
        other = await http.post("/runs", json={**sent, "on_completion": "delete"}, headers={"Idempotency-Key": "k-2"})
        assert other.status_code == 409


async def test_twenty_submits_on_one_thread_are_all_kept_in_order(serving: Serving) -> None:
    async with serving(None, None) as server:
        client = server.sdk()
        thread = await client.threads.create()
        runs = []
        for n in range(20):
            message = {"role": "user", "content": f"hello number {n}", "id": f"m-{n}"}
            runs.append(
                await client.runs.create(
                    thread["thread_id"], "supervisor", input={"messages": [message]}, multitask_strategy="enqueue"
                )
            )
        for run in runs:
            await wait_for(server, thread["thread_id"], run["run_id"], "success", "error")
        state = await client.threads.get_state(thread["thread_id"])
        asked = [m["content"] for m in state["values"]["messages"] if m["type"] == "human"]
        assert asked == [f"hello number {n}" for n in range(20)]


async def test_a_used_up_day_is_refused_with_the_hour_it_resets(serving: Serving) -> None:
    async with serving(None, None, CONSILIUM_DAILY_TOKENS="0") as server, server.http() as http:
        answer = await http.post("/runs/wait", json={"assistant_id": "supervisor", "input": MESSAGES})
        assert answer.status_code == 429
        assert answer.json()["error_code"] == "quota_exceeded"
        assert answer.json()["details"]["resets_at"].endswith("00:00:00+00:00")
        assert int(answer.headers["retry-after"]) > 0


async def test_a_model_that_is_not_there_is_refused_with_those_that_are(serving: Serving) -> None:
    async with serving(None, None) as server, server.http() as http:
        body = {"assistant_id": "supervisor", "input": MESSAGES, "context": {"model": "openai/gpt-9"}}
        answer = await http.post("/runs/wait", json=body)
        assert answer.status_code == 422
        assert "extractive/extractive" in answer.json()["details"]["available"]


async def test_a_turn_stopped_before_its_model_goes_on(serving: Serving, upstream: Upstream) -> None:
    """What the router had chosen is in no checkpoint: it is chosen anew."""
    async with serving(upstream) as server:
        client = server.sdk()
        thread = (await client.threads.create())["thread_id"]
        await client.runs.wait(thread, "supervisor", input=MESSAGES, interrupt_before=["model"])
        assert upstream.requests == []
        assert (await client.threads.get_state(thread))["next"] == ["model"]
        values = await client.runs.wait(thread, "supervisor", input=None)
        assert isinstance(values, dict)
        assert values["messages"][-1]["type"] == "ai"
        assert len(upstream.requests) == 1


async def test_a_later_turn_is_followed_from_memory_too(serving: Serving, upstream: Upstream) -> None:
    """Its events begin after those of other runs; what it says is seen before it is stored."""
    async with serving(upstream, CONSILIUM_FLUSH_SECONDS="5") as server:
        client = server.sdk()
        thread = (await client.threads.create())["thread_id"]
        await client.runs.wait(thread, "supervisor", input=MESSAGES)
        upstream.policy = fixed(*["a long answer "] * 200)
        upstream.fail("stall", after=5)
        async with asyncio.timeout(4.5):
            async for part in client.runs.stream(
                thread, "supervisor", input=MESSAGES, stream_mode=["messages-tuple"], on_disconnect="cancel"
            ):
                if part.event == "messages" and part.data[0]["content"]:
                    break
