"""The CRM of the sample organisation: the business analyst answers from amoCRM's tools, a program of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.acceptance.conftest import Serving
from tests.serving import Served
from tests.upstream.reply import Call, Policy, Reply
from tests.upstream.server import Upstream

SUMMARY = "amocrm__ammo-crm-pipeline_summary"
pytestmark = pytest.mark.timeout(180)


async def ask(server: Served, question: str) -> tuple[str, list[dict[str, Any]]]:
    """The answer, and the calls of tools in the conversation with the specialist."""
    sdk = server.sdk("demo", "anna")
    thread = (await sdk.threads.create())["thread_id"]
    asked: Any = {"messages": [{"role": "user", "content": question}]}
    ended: Any = await sdk.runs.wait(thread, "supervisor", input=asked)
    async with server.http("demo", "anna") as http:
        children = (await http.get(f"/v1/threads/{thread}/children")).json()["children"]
        calls = [
            call
            for child in children
            for call in (await http.get(f"/v1/threads/{child['thread_id']}/tool_calls")).json()["tool_calls"]
        ]
    assert [child["agent"] for child in children] == ["business_analyst_agent"]
    said = ended["messages"][-1]["content"]
    return (said if isinstance(said, str) else str(said[0]["text"])), calls


@pytest.mark.parametrize(
    ("question", "negotiation", "open_leads"),
    [
        (
            "What is our pipeline this month, by stage?",
            "| Переговоры | open | 3 | 22,400,000 |",
            "open: count 9, sum 41,790,000",
        ),
        (
            "Какая у нас воронка в этом месяце по этапам?",
            "| Переговоры | открытые | 3 | 22 400 000 |",
            "открытые: количество 9, сумма 41 790 000",
        ),
    ],
)
async def test_without_any_model_the_pipeline_is_told_from_the_crm(
    serving: Serving, question: str, negotiation: str, open_leads: str
) -> None:
    async with serving(None, None, CONSILIUM_DEMO="true") as server:
        answer, calls = await ask(server, question)
        assert negotiation in answer.replace("\N{NO-BREAK SPACE}", " ")
        assert open_leads in answer.replace("\N{NO-BREAK SPACE}", " ")
        [call] = [call for call in calls if call["name"] == SUMMARY]
        today = datetime.now(UTC).date()
        assert call["status"] == "succeeded"
        assert call["arguments"]["date_from"] == today.replace(day=1).isoformat()
