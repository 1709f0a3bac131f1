"""Decisions that come twice, too late, again under the same key, or after a long time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from storage.invariants import violations
from tests.acceptance.approving import (
    ANALYST,
    APPROVE,
    REJECT,
    add_crm,
    answer_of,
    calling,
    create,
    edit,
    office,
    one,
    resume,
    wait,
)
from tests.acceptance.conftest import Serving
from tests.mcp_servers.processes import LOOPBACK, crm
from tests.serving import Served
from tests.upstream.reply import Call, fixed
from tests.upstream.server import Upstream


async def waiting(server: Served) -> tuple[str, dict[str, Any]]:
    """A thread at an interrupt, and the body that approves what waits there."""
    thread = str((await server.sdk().threads.create())["thread_id"])
    interrupt = one(await wait(server.sdk(), thread))
    return thread, {"assistant_id": ANALYST, "command": {"resume": {interrupt["id"]: {"decisions": [APPROVE]}}}}


async def ended(server: Served, thread: str, run_id: str) -> str:
    await server.sdk().runs.join(thread, run_id)
    return str((await server.sdk().runs.get(thread, run_id))["status"])


async def test_of_two_decisions_at_once_one_counts(serving: Serving, tmp_path: Path, owner_dsn: str) -> None:
    async with office(serving, tmp_path, calling(create("Helios"))) as (server, crm, _):
        thread, approval = await waiting(server)
        rejection = json.loads(json.dumps(approval))
        [decisions] = rejection["command"]["resume"].values()
        decisions["decisions"] = [REJECT]
        async with server.http() as ann, server.http(user="mia") as mia:
            answers = await asyncio.gather(
                *(http.post(f"/threads/{thread}/runs", json=body) for http, body in ((ann, approval), (mia, rejection)))
            )
            assert sorted(answer.status_code for answer in answers) == [200, 409]
            accepted = next(answer for answer in answers if answer.status_code == 200)
            refused = next(answer for answer in answers if answer.status_code == 409)
            assert await ended(server, thread, accepted.json()["run_id"]) == "success"
            [approved] = (await ann.get(f"/v1/threads/{thread}/approvals")).json()["approvals"]
            winner = "ann" if accepted is answers[0] else "mia"
            assert approved["decided_by"] == winner
            assert refused.json()["error_code"] == "conflict"
            assert len(crm.effects) == (1 if winner == "ann" else 0)
            again = await ann.post(f"/threads/{thread}/runs", json=approval)
            assert again.status_code == 409
            assert len(await server.sdk().runs.list(thread)) == 2
    assert violations(owner_dsn) == []


async def test_a_decision_while_one_is_carried_out_names_who_decided(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Helios"))) as (server, crm, _):
        crm.hold()
        thread, approval = await waiting(server)
        async with server.http() as http:
            run = (await http.post(f"/threads/{thread}/runs", json=approval)).json()
            again = await http.post(f"/threads/{thread}/runs", json=approval)
            assert again.status_code == 409, again.text
            crm.release()
        assert await ended(server, thread, run["run_id"]) == "success"
        assert len(crm.effects) == 1


async def test_the_same_request_under_a_key_is_one_run(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Helios"))) as (server, crm, _):
        thread, approval = await waiting(server)
        headers = {"Idempotency-Key": "decide-once"}
        async with server.http() as http:
            path = f"/threads/{thread}/runs"
            answers = await asyncio.gather(*(http.post(path, json=approval, headers=headers) for _ in range(5)))
            assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
            [run_id] = {answer.json()["run_id"] for answer in answers}
            assert await ended(server, thread, run_id) == "success"
            later = await http.post(path, json=approval, headers=headers)
            assert (later.status_code, later.json()["run_id"]) == (200, run_id)
            other = {**approval, "metadata": {"other": True}}
            assert (await http.post(path, json=other, headers=headers)).status_code == 409
        assert len(crm.effects) == 1


async def test_a_decision_after_the_run_was_cancelled_comes_too_late(
    serving: Serving, tmp_path: Path, owner_dsn: str
) -> None:
    async with office(serving, tmp_path, calling(create("Helios"))) as (server, crm, upstream):
        crm.hold()
        thread, approval = await waiting(server)
        async with server.http() as http:
            run = (await http.post(f"/threads/{thread}/runs", json=approval)).json()
            await crm.has_done(1)
            await server.sdk().runs.cancel(thread, run["run_id"], wait=True)
            assert await ended(server, thread, run["run_id"]) == "interrupted"
            assert (await http.post(f"/threads/{thread}/runs", json=approval)).status_code == 409
        state: Any = await server.sdk().threads.get_state(thread)
        [closed] = [json.loads(m["content"]) for m in state["values"]["messages"] if m["type"] == "tool"]
        assert closed["error"]["code"] == "effect_unknown", "it had begun: that it was carried out can't be excluded"
        assert (await server.sdk().threads.get(thread))["status"] == "idle"
        crm.release()
        upstream.policy = fixed("here again")
        assert answer_of(await wait(server.sdk(), thread)) == "here again"
    assert violations(owner_dsn) == []


async def test_a_decision_that_was_cancelled_before_it_was_looked_at_can_be_made_again(
    serving: Serving, tmp_path: Path, owner_dsn: str
) -> None:
    """The only place for a run is taken by another conversation, so the decision waits in the queue."""
    with Upstream(calling(create("Helios"))) as upstream:
        async with (
            crm(tmp_path / "crm") as program,
            serving(upstream, CONSILIUM_MAX_CONCURRENT_RUNS="1", **LOOPBACK) as server,
        ):
            async with server.http() as http:
                await add_crm(http, program)
                thread, approval = await waiting(server)
                other, first = await waiting(server)
                program.hold()
                busy = (await http.post(f"/threads/{other}/runs", json=first)).json()
                await program.has_done(1)
                run = (await http.post(f"/threads/{thread}/runs", json=approval)).json()
                await server.sdk().runs.cancel(thread, run["run_id"], wait=True)
                known: Any = await server.sdk().threads.get(thread)
                assert known["status"] == "interrupted"
                assert known["interrupts"]
                program.release()
                assert await ended(server, other, busy["run_id"]) == "success"
                again = (await http.post(f"/threads/{thread}/runs", json=approval)).json()
            assert await ended(server, thread, again["run_id"]) == "success"
            assert len(program.effects) == 2
    assert violations(owner_dsn) == []


async def test_the_time_a_person_takes_is_not_the_turns(serving: Serving, tmp_path: Path) -> None:
    with Upstream(calling(create("Helios"))) as upstream:
        async with (
            crm(tmp_path / "crm") as program,
            serving(upstream, CONSILIUM_LIMITS__TURN_SECONDS="2", **LOOPBACK) as server,
        ):
            async with server.http() as http:
                await add_crm(http, program)
            thread, approval = await waiting(server)
            await asyncio.sleep(2.2)  # longer than a turn may take
            values = await resume(server.sdk(), thread, approval["command"]["resume"])
            assert answer_of(values) == "create: done"
            assert values["messages"][-1]["response_metadata"]["stop_reason"] == "completed"


async def test_decisions_are_in_the_audit_log_without_what_they_are_about(
    serving: Serving, tmp_path: Path, owner_dsn: str
) -> None:
    calls = create("Helios", "a"), create("Orion", "b"), create("Vega", "c")
    async with office(serving, tmp_path, calling(*calls)) as (server, _, __):
        sdk = server.sdk(user="mia")
        thread = str((await sdk.threads.create())["thread_id"])
        interrupt = one(await wait(sdk, thread))
        decisions = [APPROVE, edit({"name": "Orion Ltd"}), REJECT]
        await resume(sdk, thread, {interrupt["id"]: {"decisions": decisions}})
        run_id = (await sdk.runs.list(thread))[0]["run_id"]
        with psycopg.connect(owner_dsn, row_factory=dict_row) as conn:
            rows = conn.execute(
                "SELECT user_id, trace_id, subject, action, details FROM audit_log WHERE kind = 'approval' ORDER BY change_id"
            ).fetchall()
        assert [(row["action"], row["details"]["tool_call_id"]) for row in rows] == [
            ("approve", "a"),
            ("edit", "b"),
            ("reject", "c"),
        ]
        for row in rows:
            assert (row["user_id"], row["subject"]) == ("mia", thread)
            assert row["details"] == {
                "interrupt_id": interrupt["id"],
                "run_id": run_id,
                "agent": ANALYST,
                "tool": "crm__create",
                "tool_call_id": row["details"]["tool_call_id"],
            }
        assert len({row["trace_id"] for row in rows}) == 1, "of the request that brought the decisions"


async def test_the_analyst_asks_before_it_changes_another_system_not_before_it_saves_a_note(
    serving: Serving, tmp_path: Path
) -> None:
    note = Call("save_organization_note", json.dumps({"text": "Helios pays late."}), "n")
    async with office(serving, tmp_path, calling(note)) as (server, crm, upstream):
        sdk = server.sdk()
        thread = str((await sdk.threads.create())["thread_id"])
        assert answer_of(await wait(sdk, thread)) == "Saved."
        upstream.policy = calling(create("Helios"))
        assert one(await wait(sdk, thread))["value"]["action_requests"][0]["name"] == "crm__create"
        async with server.http() as http:
            # an organisation that wants every change looked at says so
            analyst = (await http.get(f"/v1/skills/{ANALYST}")).json()
            assert analyst["definition"]["approvals"] == "outside_effects"
            definition = {**analyst["definition"], "approvals": "side_effects"}
            changed = await http.put(f"/v1/skills/{ANALYST}", json={"version": 0, "definition": definition})
            assert changed.status_code == 200, changed.text
        upstream.policy = calling(note)
        other = str((await sdk.threads.create())["thread_id"])
        assert one(await wait(sdk, other))["value"]["action_requests"][0]["name"] == "save_organization_note"
        assert crm.effects == []


async def test_a_changed_call_is_explained_in_the_conversations_language(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Гелиос"))) as (server, _, __):
        sdk = server.sdk()
        thread = str((await sdk.threads.create())["thread_id"])
        asked = {"messages": [{"role": "user", "content": "Добавь клиента Гелиос, пожалуйста."}]}
        interrupt = one(await wait(sdk, thread, input=asked))
        assert interrupt["value"]["action_requests"][0]["description"].startswith("Бизнес-аналитик просит")
        values = await resume(sdk, thread, {interrupt["id"]: {"decisions": [edit({"name": "Гелиос Плюс"})]}})
        [told] = [json.loads(m["content"])["content"] for m in values["messages"] if m["type"] == "tool"]
        assert told.startswith("Примечание: человек изменил этот вызов перед выполнением.")
        assert "Гелиос Плюс" in told
