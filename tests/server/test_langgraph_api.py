"""The LangGraph server API through the official SDK, over HTTP: what get_client and useStream rely on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

from domain.ids import assistant_id, organization_id
from tests.serving import Served

REPORT = """# Spring campaign report

## Results

The spring campaign reached a conversion rate of 4.7 % over six weeks. Its cost per lead was 18 EUR.
"""
QUESTION = {"messages": [{"role": "user", "content": "What was the conversion rate of the spring campaign?"}]}
EVERYTHING = ["values", "updates", "messages-tuple", "custom"]


@pytest.fixture
async def client(server: Served) -> LangGraphClient:
    await server.upload("campaign.md", REPORT)
    return server.sdk()


async def collected(parts: AsyncIterator[Any]) -> list[Any]:
    return [part async for part in parts]


# Assistants


async def test_assistants_are_the_graphs(client: LangGraphClient) -> None:
    found = await client.assistants.search()
    assert {one["graph_id"] for one in found} == {
        "supervisor",
        "marketing_agent",
        "legal_agent",
        "business_analyst_agent",
    }
    [one] = await client.assistants.search(graph_id="supervisor", metadata={"created_by": "system"})
    assert one == await client.assistants.get(one["assistant_id"]) == await client.assistants.get("supervisor")
    assert await client.assistants.count() == 4
    page = await client.assistants.search(limit=3, response_format="object")
    assert (len(page["assistants"]), page["next"]) == (3, "3")


async def test_a_graph_can_be_opened_to_its_specialists(client: LangGraphClient) -> None:
    closed, opened = (
        await client.assistants.get_graph("supervisor"),
        await client.assistants.get_graph("supervisor", xray=True),
    )
    assert {"context", "model", "legal_agent"} <= {node["id"] for node in closed["nodes"]}
    assert len(opened["nodes"]) > len(closed["nodes"])
    assert any(str(node["id"]).startswith("legal_agent:") for node in opened["nodes"])


async def test_schemas_show_only_what_leaves_the_graph(client: LangGraphClient) -> None:
    schemas = await client.assistants.get_schemas("supervisor")
    assert set(schemas["state_schema"]["properties"]) == {"messages", "citations"}  # type: ignore[index]
    assert set(schemas["input_schema"]["properties"]) == {"messages"}  # type: ignore[index]
    assert "legal_agent" in await client.assistants.get_subgraphs("supervisor")


async def test_what_is_missing_is_named(client: LangGraphClient) -> None:
    thread = await client.threads.create()
    for asked, kind, name in [
        (client.assistants.get("nobody"), "assistant", "nobody"),
        (client.threads.get("not-a-uuid"), "thread", "not-a-uuid"),
        (client.threads.get_state(str(uuid.uuid4())), "thread", ""),
        (client.runs.get(thread["thread_id"], "nothing"), "run", "nothing"),
        (client.runs.create(thread["thread_id"], "nobody", input=QUESTION), "assistant", "nobody"),
        (client.runs.create("nowhere", "supervisor", input=QUESTION), "thread", "nowhere"),
        (client.threads.get_state(thread["thread_id"], checkpoint_id="no-checkpoint"), "checkpoint", "no-checkpoint"),
    ]:
        with pytest.raises(NotFoundError) as refused:
            await asked
        body = refused.value.response.json()
        assert body["error_code"] == "not_found"
        assert body["details"]["kind"] == kind
        assert name in body["message"]


# Threads


async def test_a_thread_lives_and_dies(client: LangGraphClient) -> None:
    chosen = str(uuid.uuid4())
    made = await client.threads.create(thread_id=chosen, metadata={"title": "First"}, graph_id="supervisor")
    assert (made["thread_id"], made["status"], made["values"]) == (chosen, "idle", None)
    assert (await client.threads.create(thread_id=chosen, if_exists="do_nothing"))["created_at"] == made["created_at"]
    with pytest.raises(ConflictError):
        await client.threads.create(thread_id=chosen)
    renamed = await client.threads.update(chosen, metadata={"title": "Second"})
    assert renamed["metadata"] == {"title": "Second", "graph_id": "supervisor"}
    assert await client.threads.update(chosen, metadata={"archived": True}, return_minimal=True) is None
    await client.threads.delete(chosen)
    with pytest.raises(NotFoundError):
        await client.threads.get(chosen)


async def test_a_taken_id_answers_alike_whoever_holds_it(server: Served) -> None:
    held = (await server.sdk("globex").threads.create())["thread_id"]
    own = (await server.sdk("acme", "ann").threads.create())["thread_id"]
    answers = []
    async with server.http("acme", "bob", "member") as http:
        for thread_id in (held, own):
            for if_exists in ("raise", "do_nothing"):
                answer = await http.post("/threads", json={"thread_id": thread_id, "if_exists": if_exists})
                answers.append((answer.status_code, answer.json()["message"].replace(thread_id, "ID")))
    assert len(set(answers)) == 1
    assert answers[0][0] == 409


async def test_threads_are_found_by_metadata_page_by_page(client: LangGraphClient) -> None:
    for number in range(5):
        await client.threads.create(metadata={"kind": "odd" if number % 2 else "even", "number": number})
    even = await client.threads.search(metadata={"kind": "even"}, sort_by="created_at", sort_order="asc")
    assert [one["metadata"]["number"] for one in even] == [0, 2, 4]  # type: ignore[index]
    page = await client.threads.search(limit=2, offset=2, select=["thread_id", "metadata"])
    assert [one["metadata"]["number"] for one in page] == [2, 1]  # type: ignore[index]
    assert set(page[0]) == {"thread_id", "metadata"}
    assert [one["thread_id"] for one in await client.threads.search(ids=[page[0]["thread_id"]])] == [
        page[0]["thread_id"]
    ]
    assert await client.threads.count(metadata={"kind": "odd"}) == 2
    assert await client.threads.search(status="busy") == []


async def test_members_see_their_own_threads_and_managers_all(server: Served) -> None:
    ann, bob = server.sdk(user="ann", role="member"), server.sdk(user="bob", role="member")
    thread = await ann.threads.create()
    run = await ann.runs.create(thread["thread_id"], "supervisor", input=QUESTION)
    for asked in (
        bob.threads.get(thread["thread_id"]),
        bob.threads.update(thread["thread_id"], metadata={"title": "mine now"}),
        bob.threads.delete(thread["thread_id"]),
        bob.threads.get_history(thread["thread_id"]),
        bob.runs.create(thread["thread_id"], "supervisor", input=QUESTION, if_not_exists="create"),
        bob.runs.join(thread["thread_id"], run["run_id"]),
        bob.runs.cancel(thread["thread_id"], run["run_id"]),
    ):
        with pytest.raises((NotFoundError, httpx.HTTPStatusError)) as refused:
            await asked
        assert refused.value.response.status_code == 404
    assert await bob.threads.search() == []
    assert len(await server.sdk(user="eve", role="manager").threads.search()) == 1
    await ann.runs.join(thread["thread_id"], run["run_id"])


# Runs and their streams


async def test_a_stream_has_its_modes_in_order_and_can_be_taken_up_again(client: LangGraphClient) -> None:
    created: list[Any] = []
    thread = await client.threads.create()
    thread_id = thread["thread_id"]
    parts = await collected(
        client.runs.stream(
            thread_id,
            "supervisor",
            input=QUESTION,
            stream_mode=EVERYTHING,
            stream_subgraphs=True,
            on_run_created=created.append,
        )
    )
    assert created[0]["thread_id"] == thread_id
    names = [part.event.split("|")[0] for part in parts]
    assert (names[0], names[-1]) == ("metadata", "end")
    assert {"values", "updates", "messages", "custom"} <= set(names)
    assert parts[0].data["run_id"] == created[0]["run_id"]
    assert any(part.event.startswith("messages|marketing_agent:") for part in parts)
    ids = [int(part.id) for part in parts]
    assert ids == sorted(set(ids))

    for cut in (1, len(parts) // 2, len(parts) - 1):
        again = await collected(
            client.runs.join_stream(thread_id, created[0]["run_id"], last_event_id=parts[cut - 1].id)
        )
        shown = [part for part in parts[cut:] if not part.event.startswith("values")]
        assert [part for part in again if not part.event.startswith("values")] == shown
    assert str(await client.runs.join(thread_id, created[0]["run_id"])).count("4.7 %") >= 1


async def test_without_subgraphs_only_the_root_is_heard(client: LangGraphClient) -> None:
    parts = await collected(client.runs.stream(None, "supervisor", input=QUESTION, stream_mode=EVERYTHING))
    assert not any("|" in part.event for part in parts)
    values = [part.data for part in parts if part.event == "values"]
    assert "4.7 %" in str(values[-1]["messages"][-1])
    assert all(set(one) <= {"messages", "citations"} for one in values)


async def test_only_the_modes_asked_for_come(client: LangGraphClient) -> None:
    default = await collected(client.runs.stream(None, "supervisor", input=QUESTION))
    assert {part.event for part in default} == {"metadata", "values", "end"}
    updates = await collected(client.runs.stream(None, "supervisor", input=QUESTION, stream_mode="updates"))
    assert {part.event for part in updates} == {"metadata", "updates", "end"}
    whole = await collected(
        client.runs.stream(None, "supervisor", input=QUESTION, stream_mode="messages", stream_subgraphs=True)
    )
    assert {"messages/metadata", "messages/complete"} & {part.event for part in whole}


async def test_no_answer_tells_the_savers_ids(server: Served, client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    async with server.http() as http:
        body = {
            "assistant_id": "supervisor",
            "input": QUESTION,
            "stream_mode": EVERYTHING,
            "stream_subgraphs": True,
        }
        streamed = await http.post(f"/threads/{thread_id}/runs/stream", json=body)
        texts = [streamed.text]
        [child] = (await http.get(f"/v1/threads/{thread_id}/children")).json()["children"]
        for shown in (thread_id, child["thread_id"]):
            for path in ("", "/state?subgraphs=true", "/history", "/runs"):
                answer = await http.get(f"/threads/{shown}{path}")
                assert answer.status_code == 200, answer.text
                texts.append(answer.text)
    assert organization_id("acme") not in "".join(texts)
    assert f":{thread_id}" not in "".join(texts)


async def test_a_child_is_read_as_a_thread_of_its_own(server: Served, client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread_id, "supervisor", input=QUESTION)
    async with server.http() as http:
        [child] = (await http.get(f"/v1/threads/{thread_id}/children")).json()["children"]
    shown: Any = await client.threads.get(child["thread_id"])
    assert (shown["parent_thread_id"], shown["agent"]) == (thread_id, "marketing_agent")
    state: Any = await client.threads.get_state(child["thread_id"])
    assert state["checkpoint"]["thread_id"] == child["thread_id"]
    assert state["checkpoint"]["checkpoint_ns"] == ""
    assert state["values"]["messages"] == shown["values"]["messages"]
    root: Any = await client.threads.get_state(thread_id)
    asked = {message["id"] for message in root["values"]["messages"] if message["type"] == "human"}
    assert asked.isdisjoint(message["id"] for message in state["values"]["messages"])
    history: Any = await client.threads.get_history(child["thread_id"], limit=50)
    assert len(history) > 1
    assert history[0]["checkpoint"] == state["checkpoint"]
    with pytest.raises(ConflictError):
        await client.runs.create(child["thread_id"], "supervisor", input=QUESTION)
    with pytest.raises(ConflictError):
        await client.threads.delete(child["thread_id"])
    assert [one["thread_id"] for one in await client.threads.search()] == [thread_id]
    await client.threads.delete(thread_id)
    with pytest.raises(NotFoundError):
        await client.threads.get(child["thread_id"])


async def test_deleting_a_thread_leaves_no_trace_of_its_state(server: Served, client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread_id, "supervisor", input=QUESTION)
    await client.threads.delete(thread_id)
    async with server.state.db.tenant(organization_id("acme")) as conn:
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            cursor = await conn.execute(f"SELECT count(*) AS rows FROM {table}".encode())
            assert (await cursor.fetchone() or {})["rows"] == 0


async def test_a_run_is_listed_joined_and_forgotten(client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run: Any = await client.runs.create(thread_id, "supervisor", input=QUESTION, metadata={"source": "test"})
    assert run["status"] in ("pending", "running")
    assert run["metadata"] == {"source": "test"}
    assert run["assistant_id"] == assistant_id("supervisor")
    values = await client.runs.join(thread_id, run["run_id"])
    assert "4.7 %" in str(values["messages"][-1])
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "success"
    assert [one["run_id"] for one in await client.runs.list(thread_id, status="success")] == [run["run_id"]]
    assert await client.runs.list(thread_id, status="error") == []
    assert (await client.runs.list(thread_id, select=["run_id"])) == [{"run_id": run["run_id"]}]
    await client.runs.cancel(thread_id, run["run_id"])
    await client.runs.cancel_many(thread_id=thread_id, run_ids=[run["run_id"]])
    for refused in (
        client.runs.cancel(thread_id, run["run_id"], action="rollback"),
        client.runs.cancel_many(thread_id=thread_id, run_ids=[run["run_id"]], action="rollback"),
    ):
        with pytest.raises(UnprocessableEntityError):
            await refused
    await client.runs.delete(thread_id, run["run_id"])
    assert await client.runs.list(thread_id) == []


async def test_stateless_runs_leave_nothing_behind(client: LangGraphClient) -> None:
    values = await client.runs.wait(None, "supervisor", input=QUESTION)
    assert "4.7 %" in str(values)
    async with asyncio.timeout(20):  # the answer doesn't wait for the tidying up
        while await client.threads.count():
            await asyncio.sleep(0.02)
    kept = await client.runs.wait(None, "supervisor", input=QUESTION, on_completion="keep")
    assert "4.7 %" in str(kept)
    assert len(await client.threads.search()) == 1


async def test_a_run_makes_its_thread_where_asked(client: LangGraphClient) -> None:
    thread_id = str(uuid.uuid4())
    await client.runs.wait(thread_id, "supervisor", input=QUESTION, if_not_exists="create")
    thread: Any = await client.threads.get(thread_id)
    assert thread["metadata"]["graph_id"] == "supervisor"
    assert thread["values"]["messages"][0]["type"] == "human"
    [found] = await client.threads.search(metadata={"graph_id": "supervisor"})
    assert found["values"] == thread["values"]


# State


async def test_history_goes_back_and_a_state_can_be_opened(client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    empty: Any = await client.threads.get_state(thread_id)
    assert (empty["values"], empty["next"], empty["checkpoint"]) == ({}, [], None)
    assert await client.threads.get_history(thread_id) == []
    await client.runs.wait(thread_id, "supervisor", input=QUESTION)
    history: Any = await client.threads.get_history(thread_id, limit=100)
    assert len(history) > 3
    assert history[0]["next"] == []
    assert history[0]["parent_checkpoint"] == history[1]["checkpoint"]
    older: Any = await client.threads.get_history(thread_id, limit=2, before=history[1]["checkpoint"])
    assert [one["checkpoint"] for one in older] == [one["checkpoint"] for one in history[2:4]]
    at: Any = await client.threads.get_state(thread_id, checkpoint_id=history[2]["checkpoint"]["checkpoint_id"])
    assert at["values"] == history[2]["values"]
    same: Any = await client.threads.get_state(thread_id, checkpoint=history[2]["checkpoint"])
    assert same["values"] == at["values"]


async def test_state_can_be_changed(client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread_id, "supervisor", input=QUESTION)
    changed: Any = await client.threads.update_state(
        thread_id, {"messages": [{"role": "assistant", "content": "Noted.", "id": "mine"}]}, as_node="finish"
    )
    state: Any = await client.threads.get_state(thread_id)
    assert state["checkpoint"] == changed["checkpoint"]
    assert (state["values"]["messages"][-1]["id"], state["values"]["messages"][-1]["type"]) == ("mine", "ai")
    await client.threads.update_state(thread_id, {"messages": [{"type": "remove", "id": "mine"}]}, as_node="finish")
    state = await client.threads.get_state(thread_id)
    assert "mine" not in {message["id"] for message in state["values"]["messages"]}
    for values, node, field in [
        ({"turn": {}}, "finish", "values.turn"),
        ({"messages": [{"type": "robot", "content": "x"}]}, "finish", "values.messages[0].type"),
        ({"messages": "x"}, "nowhere", "as_node"),
    ]:
        with pytest.raises(UnprocessableEntityError) as refused:
            await client.threads.update_state(thread_id, values, as_node=node)
        assert refused.value.response.json()["details"]["field"] == field
