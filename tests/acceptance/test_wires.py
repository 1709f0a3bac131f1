"""The same questions, unchanged, over the OpenAI wire and over Ollama's: a real HTTP server that behaves like a competent model."""

from __future__ import annotations

import psycopg
import pytest

from retrieval.demo import read_demo
from tests.acceptance.conftest import WIRES, Serving
from tests.serving import Served
from tests.upstream.server import Upstream

ANSWERS = [
    ("Какая неустойка за просрочку поставки по договору?", "legal_agent", "0,1 %"),
    ("What was the conversion rate of the spring campaign?", "marketing_agent", "4.2%"),
    ("Which deals are in the negotiation stage?", "business_analyst_agent", "Volga Logistics"),
]


async def load_documents(server: Served) -> None:
    for item in read_demo().documents:
        await server.upload(item.path.name, item.path.read_bytes(), organization="demo", media_type="")


@pytest.mark.parametrize("wire", WIRES)
async def test_questions_are_delegated_and_cited(
    serving: Serving, upstream: Upstream, wire: str, owner_dsn: str
) -> None:
    async with serving(upstream, wire) as server:
        await load_documents(server)
        client = server.sdk("demo")
        for question, agent, expected in ANSWERS:
            thread = await client.threads.create()
            streamed = ""
            async for part in client.runs.stream(
                thread["thread_id"],
                "supervisor",
                input={"messages": [{"role": "user", "content": question}]},
                stream_mode=["messages-tuple"],
            ):
                assert part.event != "error", part.data
                if part.event == "messages" and part.data[0]["type"] == "AIMessageChunk":
                    streamed += part.data[0]["content"]
            state = await client.threads.get_state(thread["thread_id"])
            answer = state["values"]["messages"][-1]
            assert expected in streamed
            assert answer["content"][0]["text"] == streamed.strip()
            assert answer["response_metadata"]["agents"] == ["main", agent]
            assert state["values"]["citations"]
        prompts = [str(request) for request in upstream.requests]
        assert any("<source n=" in prompt for prompt in prompts)
    with psycopg.connect(owner_dsn) as conn:
        for table in ("checkpoints", "checkpoint_writes", "checkpoint_blobs", "run_events", "runs", "usage_ledger"):
            row = conn.execute(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%must-not-be-seen%'").fetchone()
            assert row == (0,), table


@pytest.mark.parametrize("wire", WIRES)
async def test_remembering_and_not_knowing(serving: Serving, upstream: Upstream, wire: str) -> None:
    async with serving(upstream, wire) as server:
        client = server.sdk("demo")

        async def ask(question: str) -> dict[str, object]:
            thread = await client.threads.create()
            message = {"role": "user", "content": [{"type": "text", "text": question}]}
            return dict(await client.runs.wait(thread["thread_id"], "supervisor", input={"messages": [message]}))

        await ask("Remember that our fiscal year starts in April.")
        assert "April" in str(await ask("When does our fiscal year start?"))
        unknown = await ask("What is the name of the chief pilot of our Mars mission?")
        assert unknown["citations"] == []
