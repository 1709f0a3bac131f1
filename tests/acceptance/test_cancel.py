"""A run that is stopped in the middle of a delegation: every call is closed, nothing stays reserved, the thread goes on."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from tests.serving import Served
from tests.upstream.reply import Call, Reply, fixed
from tests.upstream.server import Upstream

ASKED = {"messages": [{"role": "user", "content": "What do the specialists say?"}]}
AGENTS = ("legal_agent", "marketing_agent")


class Working:
    """Asks two specialists at once; each searches once, and its next answer stalls. `working` is set once both stall."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._stalled = 0
        self.working = threading.Event()

    def __call__(self, body: dict[str, Any]) -> Reply:
        offered = {tool["function"]["name"] for tool in body.get("tools") or []}
        if "finish_subagent" not in offered:
            calls = [{"agent": agent, "task": f"task of {agent}"} for agent in AGENTS]
            return Reply(calls=[Call("switch_to_subagent", json.dumps(c), f"call_{c['agent']}") for c in calls])
        if body["messages"][-1]["role"] != "tool":
            return Reply(calls=[Call("search_documents", '{"query": "anything"}', "call_search")])
        with self._lock:
            self._stalled += 1
            if self._stalled == len(AGENTS):
                self.working.set()
        self._upstream.hold()
        return fixed("never said")(body)


async def over(server: Served, thread_id: str, run_id: str) -> str:
    """The run's status once it is over."""
    async with asyncio.timeout(30):
        while (run := await server.sdk().runs.get(thread_id, run_id))["status"] in ("pending", "running"):
            await asyncio.sleep(0.02)
    return str(run["status"])


def check_calls(messages: list[dict[str, Any]]) -> list[str]:
    """Every call has its one tool message, in order. Returns the calls' ids."""
    calls = [call["id"] for message in messages if message["type"] == "ai" for call in message["tool_calls"]]
    assert [message["tool_call_id"] for message in messages if message["type"] == "tool"] == calls
    return calls
