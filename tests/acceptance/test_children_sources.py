"""What specialists cite, in the supervisor's numbers: each citation of the answer opens in the document its specialist read."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.acceptance.conftest import Serving
from tests.upstream.reply import Call, Reply
from tests.upstream.server import Upstream

DOCUMENTS = {
    "contract.md": "# Contract\n\nThe penalty for late delivery is 0.1 percent of the price for each day.\n",
    "campaign.md": "# Campaign\n\nThe conversion rate of the spring campaign was 4.2 percent over six weeks.\n",
}
TASKS = {
    "legal_agent": ("penalty for late delivery", "penalty for late delivery is 0.1 percent"),
    "marketing_agent": ("conversion rate of the campaign", "rate of the spring campaign was 4.2 percent"),
}


def policy(body: dict[str, Any]) -> Reply:
    """Each specialist quotes its source under its own number; the supervisor puts the two summaries together."""
    messages = body["messages"]
    if "finish_subagent" in {tool["function"]["name"] for tool in body["tools"]}:
        task = messages[1]["content"]
        quote = next(quote for asked, quote in TASKS.values() if asked == task)
        number = next(
            n
            for n, text in re.findall(r'<source n="(\d+)".*?>(.*?)</source>', str(messages[0]["content"]), re.S)
            if quote in text
        )
        summary = f"The {quote} [{number}]."
        return Reply(calls=[Call("finish_subagent", json.dumps({"summary": summary, "citations": [int(number)]}))])
    if messages[-1]["role"] != "tool":
        calls = [(agent, json.dumps({"agent": agent, "task": task})) for agent, (task, _) in TASKS.items()]
        return Reply(calls=[Call("switch_to_subagent", arguments, f"call_{agent}") for agent, arguments in calls])
    told = [json.loads(message["content"])["content"] for message in messages if message["role"] == "tool"]
    return Reply([" ".join(told)])


async def test_what_two_specialists_cite_is_renumbered(serving: Serving) -> None:
    with Upstream(policy) as upstream:
        async with serving(upstream) as server:
            ids = {await server.upload(name, text): name for name, text in DOCUMENTS.items()}
            thread = (await server.sdk().threads.create())["thread_id"]
            asked: dict[str, Any] = {"messages": [{"role": "user", "content": "What do we know?"}]}
            await server.sdk().runs.wait(thread, "supervisor", input=asked)
            values: dict[str, Any] = dict((await server.sdk().threads.get_state(thread))["values"])
            told = [m for m in values["messages"] if m["type"] == "tool"]
            assert [m["tool_call_id"] for m in told] == [f"call_{agent}" for agent in TASKS]
            markers = [re.findall(r"\[(\d+)\]", m["content"]) for m in told]
            assert [len(found) for found in markers] == [1, 1]
            assert markers[0] != markers[1]
            cited = {ids[citation["document_id"]]: citation["quote"] for citation in values["citations"]}
            assert cited.keys() == DOCUMENTS.keys()
            assert all(quote in DOCUMENTS[name] for name, quote in cited.items())
            annotations = values["messages"][-1]["content"][0]["annotations"]
            async with server.http() as http:
                for annotation in annotations:
                    opened = (await http.get(annotation["url"])).json()
                    assert opened["text"] in cited.values()
            assert len(annotations) == 2
