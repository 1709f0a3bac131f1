"""Tool calls that wait for a person: approved, changed, rejected; in the conversation itself and in a specialist's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.invariants import violations
from tests.acceptance.approving import (
    ANALYST,
    APPROVE,
    ASKED,
    REJECT,
    answer_of,
    calling,
    check_calls,
    create,
    delegating,
    edit,
    office,
    one,
    resume,
    wait,
)
from tests.acceptance.conftest import Serving
from tests.serving import Served
from tests.upstream.reply import Call, fixed


async def thread_of(server: Served) -> str:
    return str((await server.sdk().threads.create())["thread_id"])


async def test_what_waits_shows_everywhere_and_goes_on_once_approved(
    serving: Serving, tmp_path: Path, owner_dsn: str
) -> None:
    async with office(serving, tmp_path, calling(create("Helios", price=7))) as (server, crm, _):
        sdk, thread = server.sdk(), await thread_of(server)
        parts = [
            part
            async for part in sdk.runs.stream(
                thread, ANALYST, input=ASKED, stream_mode=["updates", "custom", "values"], stream_subgraphs=True
            )
        ]
        assert not crm.effects, "nothing is done before somebody has agreed"
        [shown] = [p.data["__interrupt__"] for p in parts if p.event == "updates" and "__interrupt__" in p.data]
        interrupt = shown[0]
        request = interrupt["value"]
        [action] = request["action_requests"]
        assert (action["name"], action["args"]) == ("crm__create", {"name": "Helios", "price": 7})
        assert "Business analyst asks to call crm__create" in action["description"]
        [review] = request["review_configs"]
        assert review["action_name"] == "crm__create"
        assert review["allowed_decisions"] == ["approve", "edit", "reject"]
        assert review["args_schema"]["required"] == ["name"]
        assert (request["agent"], request["thread_id"]) == (ANALYST, thread)
        statuses = [p.data["status"] for p in parts if p.event == "custom" and p.data["type"] == "tool_call"]
        assert statuses == ["pending"]

        # it is where a client that comes later looks
        known: Any = await sdk.threads.get(thread)
        assert known["status"] == "interrupted"
        async with server.http() as http:
            assert [one["status"] for one in (await http.get("/v1/jobs")).json()["jobs"]] == ["waiting"]
        [waiting] = known["interrupts"].values()
        assert waiting == [interrupt]
        state: Any = await sdk.threads.get_state(thread)
        assert [task["interrupts"] for task in state["tasks"]] == [[interrupt]]
        [run] = await sdk.runs.list(thread)
        assert run["status"] == "success"
        assert [one["thread_id"] for one in await sdk.threads.search(status="interrupted")] == [thread]
        assert violations(owner_dsn) == []

        values = await resume(sdk, thread, {interrupt["id"]: {"decisions": [APPROVE]}})
        assert answer_of(values) == "create: done"
        [effect] = crm.effects
        assert effect["arguments"] == {"name": "Helios", "price": 7}
        assert effect["key"], "the server is told by which key it would know the call again"
        assert (await sdk.threads.get(thread))["status"] == "idle"
        async with server.http() as http:
            [record] = (await http.get(f"/v1/threads/{thread}/tool_calls")).json()["tool_calls"]
            [approval] = (await http.get(f"/v1/threads/{thread}/approvals")).json()["approvals"]
        assert (record["status"], record["run_id"]) == ("succeeded", (await sdk.runs.list(thread))[0]["run_id"])
        assert (approval["decided_by"], approval["run_id"], approval["interrupt_id"]) == (
            "ann",
            record["run_id"],
            interrupt["id"],
        )
        [decided] = approval["actions"]
        assert (decided["decision"], decided["args"]) == ("approve", {"name": "Helios", "price": 7})
    assert violations(owner_dsn) == []


async def test_two_calls_and_one_that_only_reads_with_different_decisions(serving: Serving, tmp_path: Path) -> None:
    calls = (
        create("Helios", "a"),
        Call("crm__find", '{"name": "Helios"}', "b"),
        create("Orion", "c"),
        create("Vega", "d"),
    )
    async with office(serving, tmp_path, calling(*calls)) as (server, crm, _):
        sdk, thread = server.sdk(), await thread_of(server)
        interrupt = one(await wait(sdk, thread))
        assert [action["args"]["name"] for action in interrupt["value"]["action_requests"]] == [
            "Helios",
            "Orion",
            "Vega",
        ]
        assert len(interrupt["value"]["review_configs"]) == 1
        # the answer alone, as there is one interrupt
        decisions = [REJECT, edit({"name": "Orion Ltd", "price": "12"}), APPROVE]
        values = await resume(sdk, thread, {"decisions": decisions})
        check_calls(values["messages"])
        rejected, found, edited, approved = (
            json.loads(m["content"]) for m in values["messages"] if m["type"] == "tool"
        )
        assert (rejected["status"], rejected["error"]["code"]) == ("error", "tool_denied")
        assert "wrong customer" in rejected["error"]["message"]
        assert found["content"] == "no lead Helios"
        assert edited["content"].startswith("Note: a person changed this call")
        assert '"price": 12' in edited["content"]
        assert approved["content"] == "create: done"
        done = sorted((effect["arguments"] for effect in crm.effects), key=str)
        assert done == [{"name": "Orion Ltd", "price": 12}, {"name": "Vega", "price": 0}]
        async with server.http() as http:
            records = (await http.get(f"/v1/threads/{thread}/tool_calls")).json()["tool_calls"]
        by_id = {record["tool_call_id"]: record for record in records}
        assert {key: record["status"] for key, record in by_id.items()} == {
            "a": "denied",
            "b": "succeeded",
            "c": "succeeded",
            "d": "succeeded",
        }
        assert by_id["c"]["arguments"] == {"name": "Orion Ltd", "price": 12}
        assert "sk-a-key" not in json.dumps(values)


WRONG = [
    ({"decisions": []}, "command.resume.decisions"),
    ({"decisions": [APPROVE]}, "command.resume.decisions"),
    ("yes", "command.resume.decisions"),
    ({"decisions": [APPROVE, {"type": "respond", "message": "no"}]}, "command.resume.decisions[1].type"),
    ({"decisions": [APPROVE, "approve"]}, "command.resume.decisions[1]"),
    ({"decisions": [APPROVE, {"type": "reject", "message": 5}]}, "command.resume.decisions[1].message"),
    ({"decisions": [APPROVE, {"type": "edit"}]}, "command.resume.decisions[1].edited_action"),
    ({"decisions": [edit({"name": "x"}, "crm__find"), APPROVE]}, "command.resume.decisions[0].edited_action.name"),
    ({"decisions": [edit({"price": 5}), APPROVE]}, "command.resume.decisions[0].edited_action.args"),
    (
        {"decisions": [edit({"name": "x", "price": "dear"}), APPROVE]},
        "command.resume.decisions[0].edited_action.args.price",
    ),
]


async def test_a_wrong_answer_is_refused_and_the_calls_go_on_waiting(serving: Serving, tmp_path: Path) -> None:
    policy = calling(create("Helios", "a"), create("Orion", "b"))
    async with office(serving, tmp_path, policy) as (server, crm, _):
        sdk, thread = server.sdk(), await thread_of(server)
        interrupt = one(await wait(sdk, thread))
        async with server.http() as http:
            for resumed, field in WRONG:
                body = {"assistant_id": ANALYST, "command": {"resume": resumed}}
                answer = await http.post(f"/threads/{thread}/runs", json=body)
                assert (answer.status_code, answer.json()["details"].get("field")) == (422, field), answer.text
            named = {interrupt["id"]: {"decisions": [APPROVE]}}
            answer = await http.post(
                f"/threads/{thread}/runs", json={"assistant_id": ANALYST, "command": {"resume": named}}
            )
            assert answer.json()["details"]["field"] == f"command.resume.{interrupt['id']}.decisions"
            unknown = {"0" * 32: {"decisions": [APPROVE, APPROVE]}}
            answer = await http.post(
                f"/threads/{thread}/runs", json={"assistant_id": ANALYST, "command": {"resume": unknown}}
            )
            assert (answer.status_code, answer.json()["details"]["waiting"]) == (409, [interrupt["id"]])
        assert (await sdk.threads.get(thread))["status"] == "interrupted"
        assert len(await sdk.runs.list(thread)) == 1
        values = await resume(sdk, thread, {interrupt["id"]: {"decisions": [APPROVE, REJECT]}})
        assert answer_of(values) == "create: done; tool_denied"
        assert len(crm.effects) == 1


async def test_who_may_not_write_to_the_thread_may_not_decide(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Helios"))) as (server, crm, _):
        thread = str((await server.sdk(user="bob", role="member").threads.create())["thread_id"])
        one(await wait(server.sdk(user="bob", role="member"), thread))
        body = {"assistant_id": ANALYST, "command": {"resume": {"decisions": [APPROVE]}}}
        for organization, user in (("acme", "eve"), ("globex", "bob")):
            async with server.http(organization, user, "member") as http:
                assert (await http.post(f"/threads/{thread}/runs", json=body)).status_code == 404
                assert (await http.get(f"/v1/threads/{thread}/approvals")).status_code == 404
        assert crm.effects == []
        values = await resume(server.sdk(user="mia", role="manager"), thread, {"decisions": [APPROVE]})
        assert answer_of(values) == "create: done"
        async with server.http(user="bob", role="member") as http:
            [approval] = (await http.get(f"/v1/threads/{thread}/approvals")).json()["approvals"]
        assert approval["decided_by"] == "mia"


async def test_a_specialists_call_waits_at_the_thread_the_user_sees(
    serving: Serving, tmp_path: Path, owner_dsn: str
) -> None:
    async with office(serving, tmp_path, delegating(create("Helios"))) as (server, crm, _):
        sdk, thread = server.sdk(), await thread_of(server)
        interrupt = one(await wait(sdk, thread, "supervisor"))
        assert (await sdk.threads.get(thread))["status"] == "interrupted"
        state: Any = await sdk.threads.get_state(thread)
        assert [task["interrupts"] for task in state["tasks"]] == [[interrupt]]
        async with server.http() as http:
            [child] = (await http.get(f"/v1/threads/{thread}/children")).json()["children"]
        assert (child["child_status"], interrupt["value"]["thread_id"]) == ("waiting", child["thread_id"])
        inner: Any = await sdk.threads.get_state(child["thread_id"])
        assert [one["id"] for one in inner["interrupts"]] == [interrupt["id"]]
        assert violations(owner_dsn) == []
        values = await resume(sdk, thread, {interrupt["id"]: {"decisions": [APPROVE]}}, "supervisor")
        assert answer_of(values) == "create: done"
        assert len(crm.effects) == 1
        async with server.http() as http:
            [child] = (await http.get(f"/v1/threads/{thread}/children")).json()["children"]
            [approval] = (await http.get(f"/v1/threads/{child['thread_id']}/approvals")).json()["approvals"]
        assert (child["child_status"], approval["conversation_id"]) == ("completed", child["thread_id"])
        check_calls((await sdk.threads.get_state(child["thread_id"]))["values"]["messages"])  # type: ignore[call-overload]
    assert violations(owner_dsn) == []


async def test_two_specialists_wait_at_once_and_are_decided_one_by_one(serving: Serving, tmp_path: Path) -> None:
    policy = delegating(create("Helios"), agents=(ANALYST, ANALYST))

    def distinct(body: dict[str, Any]) -> Any:
        reply = policy(body)
        for n, call in enumerate(reply.calls):
            if call.name == "switch_to_subagent":
                reply.calls[n] = Call(call.name, call.arguments, f"to_{n}")
        return reply

    async with office(serving, tmp_path, distinct) as (server, crm, _):
        sdk, thread = server.sdk(), await thread_of(server)
        values = await wait(sdk, thread, "supervisor")
        first, second = values["__interrupt__"]
        async with server.http() as http:
            body = {"assistant_id": "supervisor", "command": {"resume": {"decisions": [APPROVE]}}}
            answer = await http.post(f"/threads/{thread}/runs", json=body)
        assert (answer.status_code, answer.json()["details"]["field"]) == (422, "command.resume")
        values = await resume(sdk, thread, {first["id"]: {"decisions": [APPROVE]}}, "supervisor")
        assert one(values)["id"] == second["id"]
        assert len(crm.effects) == 1
        assert (await sdk.threads.get(thread))["status"] == "interrupted"
        values = await resume(sdk, thread, {second["id"]: {"decisions": [REJECT]}}, "supervisor")
        assert sorted(answer_of(values).split("; ")) == ["create: done", "tool_denied"]
        assert len(crm.effects) == 1


@pytest.mark.parametrize("assistant", [ANALYST, "supervisor"])
async def test_another_message_instead_of_a_decision(
    serving: Serving, tmp_path: Path, owner_dsn: str, assistant: str
) -> None:
    make = calling if assistant == ANALYST else delegating
    async with office(serving, tmp_path, make(create("Helios"))) as (server, crm, upstream):
        sdk, thread = server.sdk(), await thread_of(server)
        interrupt = one(await wait(sdk, thread, assistant))
        upstream.policy = fixed("As you wish.")
        values = await wait(sdk, thread, assistant)
        assert answer_of(values) == "As you wish."
        [closed] = [json.loads(m["content"]) for m in values["messages"] if m["type"] == "tool"]
        assert closed["error"]["code"] == "tool_denied"
        assert (await sdk.threads.get(thread))["status"] == "idle"
        async with server.http() as http:
            for child in (await http.get(f"/v1/threads/{thread}/children")).json()["children"]:
                assert child["child_status"] == "failed"
                check_calls((await sdk.threads.get_state(child["thread_id"]))["values"]["messages"])  # type: ignore[call-overload]
            named = {interrupt["id"]: {"decisions": [APPROVE]}}
            body = {"assistant_id": assistant, "command": {"resume": named}}
            assert (await http.post(f"/threads/{thread}/runs", json=body)).status_code == 409
        assert crm.effects == []
    assert violations(owner_dsn) == []


async def test_where_nobody_can_decide_the_outcome_says_so(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Helios"))) as (server, crm, upstream):
        async with server.http() as http:
            messages = ASKED["messages"]
            asked = {"model": ANALYST, "messages": messages}
            whole = await http.post("/v1/chat/completions", json=asked)
            assert (whole.status_code, whole.json()["error"]["error_code"]) == (409, "approval_required"), whole.text
            [action] = whole.json()["error"]["details"]["actions"]
            assert action["name"] == "crm__create"
            streamed = await http.post("/v1/chat/completions", json={**asked, "stream": True})
            assert "approval_required" in streamed.text
            assert "[DONE]" not in streamed.text
            once = await http.post("/internal/llm/generate", json={"agent": ANALYST, "prompt": "Add the lead."})
            assert (once.status_code, once.json()["error_code"]) == (409, "approval_required"), once.text
            stateless = await http.post("/runs/wait", json={"assistant_id": ANALYST, "input": ASKED})
            assert stateless.json()["__error__"]["error"] == "approval_required"
            # a specialist's, too
            upstream.policy = delegating(create("Helios"))
            whole = await http.post("/v1/chat/completions", json={**asked, "model": "supervisor"})
            assert (whole.status_code, whole.json()["error"]["error_code"]) == (409, "approval_required"), whole.text
        assert crm.effects == []
