"""The CRM of the sample organisation: the business analyst answers from amoCRM's tools, a program of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.acceptance.conftest import Serving
from tests.serving import Served
from tests.tools.amocrm import serve_amo
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
        assert negotiation in answer
        assert open_leads in answer
        [call] = [call for call in calls if call["name"] == SUMMARY]
        today = datetime.now(UTC).date()
        assert call["status"] == "succeeded"
        assert call["arguments"]["date_from"] == today.replace(day=1).isoformat()


def analyst(arguments: dict[str, Any]) -> Policy:
    """A supervisor that hands over, and an analyst that reads the pipeline and adds the open leads up in words."""

    def policy(body: dict[str, Any]) -> Reply:
        offered = {tool["function"]["name"] for tool in body.get("tools", [])}
        results = [json.loads(message["content"]) for message in body["messages"] if message["role"] == "tool"]
        if "switch_to_subagent" in offered:
            if results:
                return Reply([results[-1]["content"]])
            task = {"agent": "business_analyst_agent", "task": "The pipeline of this month by stage."}
            return Reply(calls=[Call("switch_to_subagent", json.dumps(task))])
        if not results:
            return Reply(calls=[Call(SUMMARY, json.dumps(arguments))])
        last = results[-1]
        if last["status"] == "error":
            return Reply(calls=[Call("finish_subagent", json.dumps({"summary": last["error"]["code"]}))])
        [sales, service] = json.loads(last["content"])["pipelines"]
        stages = "; ".join(f"{one['stage']}: {one['count']}, {one['sum']}" for one in sales["stages"])
        summary = f"{stages}. Open {sales['open']['sum']}, service {service['open']['sum']}."
        return Reply(calls=[Call("finish_subagent", json.dumps({"summary": summary}))])

    return policy


async def test_a_model_reads_the_pipeline_through_the_business_analyst(serving: Serving) -> None:
    with Upstream(analyst({"date_from": "2000-01-01"})) as upstream:
        async with serving(upstream, CONSILIUM_DEMO="true") as server:
            answer, calls = await ask(server, "What is our pipeline this month, by stage?")
            assert "Переговоры: 3, 22400000" in answer
            assert answer.endswith("Open 41790000, service 275000.")
            await upstream.quiet()
            assert all(spent.complete for spent in upstream.spent), "no answer came from elsewhere"
            assert len(upstream.spent) == len(upstream.requests)
            assert (calls[0]["name"], calls[0]["status"]) == (SUMMARY, "succeeded")
            supervised = {tool["function"]["name"] for tool in upstream.requests[0]["tools"]}
            assert not [name for name in supervised if name.startswith("amocrm__")]
            async with server.http("demo", "anna") as http:
                [crm] = (await http.get("/v1/mcp/servers")).json()["servers"]
                rows = {row["name"]: row for row in (await http.get("/v1/tools")).json()["tools"]}
            assert (crm["name"], crm["scope"], crm["state"], crm["listed"]) == ("amocrm", "operator", "ready", 19)
            effects = {tool["name"]: tool["side_effect"] for tool in crm["tools"]}
            assert [name for name, effect in effects.items() if not effect] == [
                "ammo-crm-entity_get", "ammo-crm-leads_pipelines_get", "ammo-crm-users_get", "ammo-crm-pipeline_summary",
                "ammo-crm-leads_search", "ammo-crm-contacts_search", "ammo-crm-companies_search", "ammo-crm-tasks_search",
                "ammo-crm-notes_get",
            ]  # fmt: skip
            assert rows[SUMMARY]["agents"] == ["business_analyst_agent"]
            assert rows["amocrm__ammo-crm-leads_create"]["side_effect"] is True
            # other organisations have no CRM, and are told what is missing
            async with server.http("acme") as http:
                shown = (await http.get("/v1/tools")).json()
            assert not [row for row in shown["tools"] if row["server"] == "amocrm"]
            [told] = [one for one in shown["mcp_servers"] if one["name"] == "amocrm"]
            assert (told["state"], told["reason"]["code"]) == ("disabled", "not_configured")
            assert "AMOCRM_BASE_URL" in told["reason"]["message"]


async def test_an_account_that_refuses_the_token_costs_the_call(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real program against a scripted amoCRM, in the organisation whose account it is."""
    monkeypatch.setenv("AMOCRM_ORGANIZATIONS", "demo")
    with Upstream(analyst({})) as upstream:
        async with serve_amo() as amo:
            monkeypatch.setenv("AMOCRM_BASE_URL", amo.url)
            monkeypatch.setenv("AMOCRM_TOKEN", "a-token-amocrm-refuses")
            async with serving(upstream) as server:
                answer, calls = await ask(server, "What is our pipeline?")
    assert answer == "tool_error"
    assert calls[0]["status"] == "failed"
    assert "tool_rejected" in calls[0]["result"]["error"]["message"]
    assert "a-token-amocrm-refuses" not in json.dumps(calls)
