"""A changed skill is what the next turn works by, on every replica; a test-run touches nothing. The model is scripted."""

from __future__ import annotations

import json
from typing import Any

import httpx
import psycopg

from tests.acceptance.conftest import Serving
from tests.acceptance.test_children import ask, children, delegate, finish, last, names
from tests.serving import Served
from tests.upstream.reply import Call, Reply
from tests.upstream.server import Upstream

TAXES: dict[str, Any] = {
    "title": {"en": "Tax adviser", "ru": "Налоговый консультант"},
    "description": "Everything about taxes.",
    "prompt": "TAX PROMPT ONE",
    "tools": ["search_documents", "save_organization_note"],
}


def is_child(body: dict[str, Any]) -> bool:
    return "finish_subagent" in names(body)


def system(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"])


def targets(body: dict[str, Any]) -> list[str]:
    """Whom the supervisor's model can hand over to."""
    tools = [tool["function"] for tool in body["tools"] if tool["function"]["name"] == "switch_to_subagent"]
    return list(tools[0]["parameters"]["properties"]["agent"]["enum"]) if tools else []


def asks_taxes(body: dict[str, Any]) -> Reply:
    if is_child(body):
        return finish("taxes are due")
    if last(body)["role"] == "tool" or "tax_agent" not in targets(body):
        return Reply(["main has spoken"])
    return delegate("tax_agent")


def done(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code in (200, 201), answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_the_next_turn_works_by_the_change_on_every_replica(serving: Serving) -> None:
    with Upstream(asks_taxes) as upstream:
        async with serving(upstream) as one, serving(upstream) as two, one.http() as http:
            threads = {server.url: (await server.sdk().threads.create())["thread_id"] for server in (one, two)}

            async def turn(server: Served) -> list[dict[str, Any]]:
                """What the models were asked."""
                before = len(upstream.requests)
                await ask(server, threads[server.url], "when are taxes due?")
                return upstream.requests[before:]

            for server in (one, two):
                (main,) = await turn(server)
                assert "tax_agent" not in targets(main)
            done(await http.post("/v1/skills", json={"name": "tax_agent", "definition": TAXES}))
            for version, prompt in enumerate(["TAX PROMPT ONE", "TAX PROMPT TWO", "TAX PROMPT THREE"]):
                if version:
                    body = {"version": version, "definition": {**TAXES, "prompt": prompt}}
                    done(await http.put("/v1/skills/tax_agent", json=body))
                for server in (two, one):
                    main, child, _ = await turn(server)
                    assert targets(main)[-1] == "tax_agent"
                    assert prompt in system(child)
                    assert names(child) == {"search_documents", "save_organization_note", "finish_subagent"}
            override = done(await http.get("/v1/skills/main"))["definition"] | {"prompt": "MAIN PROMPT TWO"}
            done(await http.put("/v1/skills/main", json={"version": 0, "definition": override}))
            assert "MAIN PROMPT TWO" in system((await turn(two))[0])
            done(await http.post("/v1/skills/tax_agent/disable"))
            (main,) = await turn(two)
            assert "tax_agent" not in targets(main)
            # the conversations of before are still there
            child = (await children(two, threads[two.url]))[0]
            state: Any = await one.sdk().threads.get_state(child["thread_id"])
            assert "taxes are due" in json.dumps(state["values"])


async def test_an_active_specialist_that_is_switched_off_gives_the_word_back(serving: Serving) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        return Reply(["Which tax?"]) if is_child(body) else asks_taxes(body)

    with Upstream(policy) as upstream:
        async with serving(upstream) as server, server.http() as http:
            done(await http.post("/v1/skills", json={"name": "tax_agent", "definition": TAXES}))
            thread = (await server.sdk().threads.create())["thread_id"]
            values = await ask(server, thread, "when are taxes due?")
            assert values["messages"][-1]["name"] == "tax_agent"
            assert (await children(server, thread))[0]["child_status"] == "active"
            done(await http.post("/v1/skills/tax_agent/disable"))
            values = await ask(server, thread, "VAT")
            assert "main has spoken" in str(values["messages"][-1]["content"])
            assert (await children(server, thread))[0]["child_status"] == "completed"


async def test_a_test_run_tells_everything_and_touches_nothing(serving: Serving, owner_dsn: str) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        if last(body)["role"] == "tool":
            return Reply([f"Tried: {last(body)['content']}"], prompt_tokens=70, completion_tokens=7)
        note = json.dumps({"text": "Taxes are due."})
        return Reply(calls=[Call("save_organization_note", note)], prompt_tokens=50, completion_tokens=5)

    with Upstream(policy) as upstream:
        async with serving(upstream) as server, server.http() as http:
            draft = {**TAXES, "prompt": "DRAFT PROMPT"}
            tried = done(await http.post("/v1/skills/tax_agent/test", json={"question": "When?", "definition": draft}))
            assert "DRAFT PROMPT" in system(upstream.requests[0])
            assert "tool_denied" in tried["answer"]
            assert tried["skill"] == {"name": "tax_agent", "version": None}
            assert tried["used_tokens"] == {"prompt": 120, "completion": 12}
            (call,) = tried["tools_called"]
            assert (call["name"], call["status"], call["agent"]) == ("save_organization_note", "denied", "tax_agent")
            assert [one["agent"] for one in tried["route"]] == ["tax_agent", "tax_agent"]
            assert tried["route"][0]["candidates"][0]["provider"] == "openai"
            assert (tried["meta"]["agent"], tried["meta"]["stop_reason"]) == ("tax_agent", "completed")
            assert done(await http.get("/v1/notes"))["total"] == 0
            assert (await http.post("/threads/count", json={})).json() == 0
            assert (await http.get("/v1/skills/tax_agent")).status_code == 404

            done(await http.post("/v1/skills", json={"name": "tax_agent", "definition": TAXES}))
            body = {"version": 1, "definition": {**TAXES, "prompt": "TAX PROMPT TWO"}}
            done(await http.put("/v1/skills/tax_agent", json=body))
            for asked, version, prompt in [({"version": 1}, 1, "ONE"), ({}, 2, "TWO")]:
                before = len(upstream.requests)
                tried = done(await http.post("/v1/skills/tax_agent/test", json={"question": "When?", **asked}))
                assert tried["skill"] == {"name": "tax_agent", "version": version}
                assert f"TAX PROMPT {prompt}" in system(upstream.requests[before])
            assert (
                await http.post("/v1/skills/tax_agent/test", json={"question": "?", "version": 9})
            ).status_code == 404
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM runs").fetchone() == (0,)


async def test_a_draft_of_the_supervisor_hands_over_as_the_real_one(serving: Serving) -> None:
    with Upstream(asks_taxes) as upstream:
        async with serving(upstream) as server, server.http() as http:
            done(await http.post("/v1/skills", json={"name": "tax_agent", "definition": TAXES}))
            draft = done(await http.get("/v1/skills/main"))["definition"] | {"prompt": "MAIN DRAFT"}
            tried = done(await http.post("/v1/skills/main/test", json={"question": "When?", "definition": draft}))
            assert "MAIN DRAFT" in system(upstream.requests[0])
            assert tried["answer"] == "main has spoken"
            assert [call["arguments"].get("agent") for call in tried["tools_called"] if call["agent"] == "main"] == [
                "tax_agent"
            ]
