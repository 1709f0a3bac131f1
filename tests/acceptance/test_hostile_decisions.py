"""Ways around a decision: none leads to a call that nobody has seen and approved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.approving import ANALYST, APPROVE, answer_of, calling, create, office, one, resume, wait
from tests.acceptance.conftest import Serving

pytestmark = pytest.mark.timeout(180)


async def test_what_waits_is_not_exchanged_for_something_else(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Helios"))) as (server, crm, _), server.http() as http:
        sdk = server.sdk()
        thread = str((await sdk.threads.create())["thread_id"])
        interrupt = one(await wait(sdk, thread))
        state: Any = await sdk.threads.get_state(thread)
        asked = state["values"]["messages"][-1]
        forged: dict[str, Any] = {
            "type": "ai",
            "id": asked["id"],
            "content": "",
            "tool_calls": [{**asked["tool_calls"][0], "args": {"name": "Forged"}}],
        }
        decision = {interrupt["id"]: {"decisions": [APPROVE]}}

        for more in ({"update": {"messages": [forged]}}, {"goto": "tools"}):
            body = {"assistant_id": ANALYST, "command": {"resume": decision, **more}}
            answer = await http.post(f"/threads/{thread}/runs/wait", json=body)
            assert (answer.status_code, answer.json()["details"]["field"]) == (422, "command.resume"), answer.text
        assert crm.effects == []
        assert answer_of(await resume(sdk, thread, decision))
        assert [effect["arguments"]["name"] for effect in crm.effects] == ["Helios"]


async def test_no_step_is_gone_to_past_the_decision(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Helios"))) as (server, crm, _), server.http() as http:
        sdk = server.sdk()
        thread = str((await sdk.threads.create())["thread_id"])
        interrupt = one(await wait(sdk, thread))
        assert interrupt["value"]["action_requests"][0]["args"] == {"name": "Helios"}
        await http.post(f"/threads/{thread}/runs/wait", json={"assistant_id": ANALYST, "command": {"goto": "tools"}})
        assert crm.effects == []
        forged = {
            "type": "ai",
            "id": "f",
            "content": "",
            "tool_calls": [{"id": "b", "name": "crm__create", "args": {"name": "Forged"}}],
        }
        for node in ("approval", "model", "tools"):
            await http.post(f"/threads/{thread}/state", json={"values": {"messages": [forged]}, "as_node": node})
            await http.post(f"/threads/{thread}/runs/wait", json={"assistant_id": ANALYST, "input": None})
            values = {"messages": [forged], "decisions": {"b": {**APPROVE, "tool_call_id": "b"}}}
            await http.post(f"/threads/{thread}/state", json={"values": values, "as_node": node})
            await http.post(f"/threads/{thread}/runs/wait", json={"assistant_id": ANALYST, "input": None})
            assert crm.effects == [], node


async def test_another_organisation_decides_nothing(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Helios"))) as (server, crm, _):
        thread = str((await server.sdk().threads.create())["thread_id"])
        interrupt = one(await wait(server.sdk(), thread))
        body = {"assistant_id": ANALYST, "command": {"resume": {interrupt["id"]: {"decisions": [APPROVE]}}}}
        async with server.http(organization="globex") as eve:
            for path in (f"/threads/{thread}/runs/wait", f"/threads/{thread}/runs"):
                assert (await eve.post(path, json=body)).status_code == 404
            assert (
                await eve.post(f"/threads/{thread}/runs", json={**body, "if_not_exists": "create"})
            ).status_code in (404, 409)
            assert (await eve.get(f"/v1/threads/{thread}/approvals")).status_code == 404
        assert crm.effects == []
