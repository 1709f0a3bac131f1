"""kill -9 of the server in the middle of a delegated run: another process takes it over and ends it, nothing twice."""

from __future__ import annotations

import asyncio
import itertools
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
from langgraph_sdk import get_client

from retrieval.analyse import analyse
from server.auth import issue_token
from tests.processes import environment, start
from tests.serving import settings_for
from tests.upstream.reply import Reply, competent
from tests.upstream.server import Upstream

CONTRACT = "# Contract\n\n## 7. Liability\n\n7.2. The penalty for late delivery is 0.1 % of the price for each day.\n"


async def test_a_run_survives_kill_9(owner_dsn: str, tmp_path: Path) -> None:
    model = Held()
    with Upstream(model) as upstream:
        environ = environment(owner_dsn, tmp_path, OPENAI_BASE_URL=upstream.openai_url)
        port = environ["CONSILIUM_PORT"]
        token = issue_token(settings_for(owner_dsn, tmp_path), "acme", "ann", ["admin"], timedelta(hours=1))
        headers = {"Authorization": f"Bearer {token}"}
        client = get_client(url=f"http://127.0.0.1:{port}", api_key=None, headers=headers)
        first = await start(environ)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:
                document = (await http.post("/v1/documents", files={"file": ("contract.md", CONTRACT)})).json()
                async with asyncio.timeout(30):
                    while (await http.get(f"/v1/documents/{document['document_id']}")).json()["status"] != "ready":
                        await asyncio.sleep(0.05)
            thread = (await client.threads.create())["thread_id"]
            message = {"role": "user", "content": "What is the penalty for late delivery under the contract?"}
            run = await client.runs.create(thread, "supervisor", input={"messages": [message]})
            assert await asyncio.to_thread(model.asked.wait, 30)
        finally:
            first.kill()
            first.wait()
            model.released.set()
        second = await start(environ)
        try:
            async with asyncio.timeout(40):
                while (known := await client.runs.get(thread, run["run_id"]))["status"] in ("pending", "running"):
                    await asyncio.sleep(0.05)
            assert known["status"] == "success"
            state = await client.threads.get_state(thread)
        finally:
            second.terminate()
            second.wait()
    check_conversation(state["values"]["messages"])
    with psycopg.connect(owner_dsn) as conn:
        rows = conn.execute("SELECT seq_first, seq_last, terminal FROM run_events ORDER BY seq_first").fetchall()
        assert conn.execute("SELECT sum(reserved) FROM quota_days").fetchone() == (0,)
        children = conn.execute("SELECT child_status FROM threads WHERE parent_thread_id IS NOT NULL").fetchall()
    assert rows[0][0] == 1
    assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(rows))
    assert [row[2] for row in rows].count(True) == 1
    assert children == [("completed",)]


class Held:
    """A competent model whose first answer to a specialist is held back until `released`."""

    def __init__(self) -> None:
        self._policy = competent(analyse)
        self.asked, self.released = threading.Event(), threading.Event()

    def __call__(self, body: dict[str, Any]) -> Reply:
        if "finish_subagent" in str(body.get("tools")):
            self.asked.set()
            self.released.wait(30)
        return self._policy(body)


def check_conversation(messages: list[dict[str, Any]]) -> None:
    calls = [call["id"] for message in messages if message["type"] == "ai" for call in message["tool_calls"]]
    assert [message["tool_call_id"] for message in messages if message["type"] == "tool"] == calls
    assert "0.1 %" in str(messages[-1]["content"])
