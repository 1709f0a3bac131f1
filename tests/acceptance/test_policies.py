"""Who chooses the model, and what must not leave the premises: the wishes of request, user and organisation, labels of documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from retrieval.analyse import analyse
from tests.acceptance.conftest import Serving
from tests.serving import Served
from tests.upstream.reply import Call, Reply, competent, script
from tests.upstream.server import Upstream

CONTRACT = "# Contract\n\n## 7. Liability\n\n7.2. The penalty for late delivery is 0.1 % of the price for each day.\n"
PENALTY = "What is the penalty for late delivery under the contract?"
HELLO = "hello, who are you?"


@pytest.fixture
def local() -> Iterator[Upstream]:
    """The local models' server, beside the cloud's."""
    with Upstream(competent(analyse)) as server:
        yield server


async def ask(server: Served, thread_id: str, question: str, **wishes: Any) -> dict[str, Any]:
    """The state after the answer."""
    asked = {"messages": [{"role": "user", "content": question}]}
    values = await server.sdk().runs.wait(thread_id, "supervisor", input=asked, context=wishes)
    assert isinstance(values, dict)
    return values


async def new_thread(server: Served) -> str:
    return str((await server.sdk().threads.create())["thread_id"])


async def label(server: Served, document_id: str, *labels: str) -> None:
    async with server.http() as http:
        answer = await http.patch(f"/v1/documents/{document_id}", json={"labels": list(labels)})
        assert (answer.status_code, answer.json()["labels"]) == (200, list(labels))


async def calls_of(server: Served, thread_id: str) -> list[dict[str, Any]]:
    """What explain says of the model calls of the thread's newest run."""
    run = (await server.sdk().runs.list(thread_id))[0]["run_id"]
    async with server.http() as http:
        answer = await http.get(f"/threads/{thread_id}/runs/{run}/explain")
        assert answer.status_code == 200, answer.text
        return list(answer.json()["calls"])


async def test_a_labelled_document_keeps_the_conversation_off_the_cloud(
    serving: Serving, upstream: Upstream, local: Upstream
) -> None:
    async with serving(upstream, local=local) as server:
        await label(server, await server.upload("contract.md", CONTRACT), "local_only")
        thread = await new_thread(server)
        await ask(server, thread, HELLO)
        before = len(upstream.requests)
        assert before
        assert not local.requests
        values = await ask(server, thread, PENALTY)
        assert "0.1 %" in values["messages"][-1]["content"][0]["text"]
        calls = await calls_of(server, thread)
        assert {call["provider"] for call in calls} == {"ollama"}
        assert any(e["code"] == "leaves_premises" for call in calls for e in call["eliminations"])
        await ask(server, thread, HELLO)  # the conversation still holds it
        assert len(upstream.requests) == before
        assert "0.1 %" not in json.dumps(upstream.requests)
        await ask(server, await new_thread(server), HELLO)  # another one doesn't
        assert len(upstream.requests) > before


async def test_what_a_specialist_reads_keeps_its_parent_off_the_cloud(
    serving: Serving, upstream: Upstream, local: Upstream
) -> None:
    task = {"agent": "legal_agent", "task": PENALTY}
    upstream.policy = script(Reply(calls=[Call("switch_to_subagent", json.dumps(task))]))
    async with serving(upstream, local=local) as server:
        await label(server, await server.upload("contract.md", CONTRACT), "local_only")
        thread = await new_thread(server)
        values = await ask(server, thread, "please ask our lawyer")
        assert "0.1 %" in json.dumps(values["messages"])
        assert len(upstream.requests) == 1
        calls = await calls_of(server, thread)
        assert [call["provider"] for call in calls] == ["openai"] + ["ollama"] * (len(calls) - 1)
        assert len(calls) > 2


async def test_the_last_resort_answers_where_there_is_no_local_model(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server:
        await label(server, await server.upload("contract.md", CONTRACT), "local_only")
        values = await ask(server, await new_thread(server), PENALTY)
        assert "0.1 %" in values["messages"][-1]["content"][0]["text"]
        assert upstream.requests == []


async def test_an_explicit_cloud_model_gives_way_to_the_label(
    serving: Serving, upstream: Upstream, local: Upstream
) -> None:
    async with serving(upstream, local=local) as server:
        await label(server, await server.upload("contract.md", CONTRACT), "local_only")
        await ask(server, await new_thread(server), PENALTY, provider="openai")
        assert upstream.requests == []


async def test_a_note_is_not_carried_out_of_such_a_conversation(
    serving: Serving, upstream: Upstream, local: Upstream
) -> None:
    save = Call("save_organization_note", json.dumps({"text": "The penalty is 0.1 %."}))
    local.policy = script(Reply(calls=[save]), Reply(["It could not be saved."]))
    async with serving(upstream, local=local) as server:
        await label(server, await server.upload("contract.md", CONTRACT), "local_only")
        values = await ask(server, await new_thread(server), PENALTY)
        result = json.loads(next(m["content"] for m in values["messages"] if m["type"] == "tool"))
        assert result["status"] == "error"
        assert "premises" in result["error"]["message"]
        async with server.http() as http:
            assert (await http.get("/v1/notes")).json()["total"] == 0


async def test_the_same_file_again_adds_its_labels(serving: Serving) -> None:
    async with serving(None, None) as server, server.http() as http:
        document = await server.upload("contract.md", CONTRACT)
        again = await http.post(
            "/v1/documents", files={"file": ("contract.md", CONTRACT.encode())}, data={"labels": "local_only"}
        )
        assert again.json()["document_id"] == document
        assert again.json()["labels"] == ["local_only"]
        found = (await http.post("/v1/documents/search", json={"query": "penalty"})).json()["passages"]
        assert [passage["local_only"] for passage in found] == [True]
        missing = await http.patch("/v1/documents/00000000-0000-0000-0000-000000000000", json={"labels": []})
        assert missing.status_code == 404


async def test_the_wishes_of_organisation_user_and_request(
    serving: Serving, upstream: Upstream, local: Upstream
) -> None:
    async with serving(upstream, local=local) as server, server.http() as http:

        async def answered_by(**wishes: Any) -> str:
            thread = await new_thread(server)
            await ask(server, thread, HELLO, **wishes)
            return str((await calls_of(server, thread))[-1]["provider"])

        assert await answered_by() == "openai"
        assert (await http.put("/v1/policies/organization", json={"prefer_local": True})).status_code == 200
        assert await answered_by() == "ollama"
        assert await answered_by(force_cloud=True) == "openai"
        assert (await http.put("/v1/policies/me", json={"force_cloud": True})).status_code == 200
        assert await answered_by() == "openai"
        assert await answered_by(provider="ollama") == "ollama"
        shown = (await http.get("/v1/policies")).json()
        assert (shown["organization"]["prefer_local"], shown["user"]["force_cloud"]) == (True, True)
        assert (await http.delete("/v1/policies/me")).status_code == 204
        assert (await http.get("/v1/policies")).json()["user"] is None
        assert await answered_by() == "ollama"
        # of somebody else in the organisation only the common one holds
        async with server.http(user="bob", role="member") as bobs:
            assert (await bobs.get("/v1/policies")).json()["organization"]["prefer_local"] is True
            assert (await bobs.put("/v1/policies/organization", json={})).status_code == 403


async def test_local_only_of_the_organisation_wins_over_every_wish(
    serving: Serving, upstream: Upstream, local: Upstream
) -> None:
    async with serving(upstream, local=local) as server, server.http() as http:
        await http.put("/v1/policies/organization", json={"local_only": True})
        thread = await new_thread(server)
        await ask(server, thread, HELLO)
        assert (upstream.requests, bool(local.requests)) == ([], True)
        body = {"assistant_id": "supervisor", "input": {"messages": [{"role": "user", "content": HELLO}]}}
        forced = await http.post(f"/threads/{thread}/runs", json={**body, "context": {"force_cloud": True}})
        assert forced.status_code == 422
        assert forced.json()["details"] == {"field": "force_cloud", "rule": "local_only", "of": "organisation"}
        chosen = await http.post(f"/threads/{thread}/runs", json={**body, "context": {"model": "gpt-4o"}})
        assert (chosen.status_code, chosen.json()["error_code"]) == (422, "no_provider")
        assert "local_only" in chosen.json()["message"]
        assert upstream.requests == []


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        ({"force_cloud": True, "local_only": True}, "force_cloud"),
        ({"force_cloud": True, "prefer_local": True}, "force_cloud"),
        ({"max_latency_ms": 0}, "max_latency_ms"),
        ({"max_latency_ms": "fast"}, "max_latency_ms"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"model": 7}, "model"),
        ({"local_only": "perhaps"}, "local_only"),
    ],
)
async def test_wishes_that_cannot_be_kept_are_refused(serving: Serving, wishes: dict[str, Any], field: str) -> None:
    async with serving(None, None) as server, server.http() as http:
        body = {"assistant_id": "supervisor", "input": {"messages": [{"role": "user", "content": HELLO}]}}
        for answer in (
            await http.post("/runs/wait", json={**body, "context": wishes}),
            await http.post("/runs/wait", json={**body, "config": {"configurable": wishes}}),
            await http.put("/v1/policies/organization", json=wishes),
            await http.post("/internal/llm/generate", json={"prompt": HELLO, **wishes}),
        ):
            assert answer.status_code == 422, answer.text
            assert field in answer.json()["details"]["field"]
        if "local_only" in wishes and len(wishes) == 2:
            assert "wins" in answer.json()["message"]


async def test_a_policy_names_only_what_there_is(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server, server.http() as http:
        answer = await http.put("/v1/policies/organization", json={"model": "gpt-9000"})
        assert (answer.status_code, answer.json()["error_code"]) == (404, "unknown_model")
        assert "openai/gpt-4o-mini" in answer.json()["details"]["available"]
        assert (await http.get("/v1/policies")).json() == {"user": None, "organization": None}


async def test_reasoning_effort_reaches_the_model_that_thinks(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream, OPENAI_MODEL="gpt-4o-mini") as server, server.http() as http:
        models = next(p for p in (await http.get("/v1/providers")).json()["providers"] if p["provider"] == "openai")
        thinking = [m["name"] for m in models["models"] if m["capabilities"]["reasoning"]]
        plain = [m["name"] for m in models["models"] if m["capabilities"]["reasoning"] is False]
        for model in (*thinking[:1], plain[0]):
            await ask(server, await new_thread(server), HELLO, model=f"openai/{model}", reasoning_effort="low")
            assert upstream.requests[-1].get("reasoning_effort") == ("low" if model in thinking else None)


async def test_the_matrix_tells_how_providers_do(serving: Serving, upstream: Upstream) -> None:
    async with serving(upstream) as server, server.http() as http:

        async def openai() -> dict[str, Any]:
            rows = (await http.get("/v1/providers")).json()["providers"]
            return dict(next(row for row in rows if row["provider"] == "openai"))

        def first_token(row: dict[str, Any]) -> Any:
            return next(model["first_token_ms"] for model in row["models"] if model["name"] == row["default_model"])

        row = await openai()
        assert row["breaker"] == {"status": "closed", "failures": 0, "retry_at": None}
        assert first_token(row) is None
        await ask(server, await new_thread(server), HELLO)
        assert first_token(await openai()) >= 0
        upstream.fail("server_error", times=50)
        for _ in range(3):
            await ask(server, await new_thread(server), HELLO)
        row = await openai()
        assert row["breaker"]["status"] == "open"
        assert row["breaker"]["retry_at"] is not None
        assert row["usable"] is True
