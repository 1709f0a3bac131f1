"""Calls that wait, decided at the command line: at once by whoever asked, or later, by a person or a program."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.acceptance.approving import ANALYST, calling, create, office
from tests.acceptance.conftest import Serving
from tests.server.test_cli import access, call

ASKED = ("ask", "--assistant", ANALYST)


async def test_whoever_asks_is_asked_back(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Helios", "a"), create("Orion", "b"))) as (server, crm, _):
        typed = 'edit\n{"name":\n{"name": "Helios Ltd", "price": 5}\nreject\na customer already\n'
        done = await call(*ASKED, "Add the leads, please.", typed=typed, **access(server))
        assert done.code == 0, done.err
        assert f'{ANALYST}  ? crm__create(name="Helios"' in done.out
        assert "Business analyst asks to call crm__create." in done.out
        assert "a JSON object is wanted" in done.out + done.err
        assert re.search(r"✓ crm__create\(name=\"Helios Ltd\", price=5\)", done.out)
        assert re.search(r"✗ crm__create\(name=\"Orion\".*tool_denied: .*a customer already", done.out)
        assert [effect["arguments"] for effect in crm.effects] == [{"name": "Helios Ltd", "price": 5}]


async def test_what_waits_is_decided_by_another_command(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Гелиос"))) as (server, crm, _):
        asked = await call(*ASKED, "Добавь клиентов, пожалуйста.", **access(server))
        assert asked.code == 0, asked.err
        assert "Бизнес-аналитик просит разрешения вызвать crm__create." in asked.out
        told = re.search(r"Это ждёт решения: consilium decide ([0-9a-f-]{36})", asked.out)
        assert told, asked.out
        assert crm.effects == []
        refused = await call("decide", told[1], "--reject", "не сейчас", **access(server))
        assert refused.code == 0, refused.err
        assert "не сейчас" in refused.out
        assert crm.effects == []
        again = await call("decide", told[1], "--approve", **access(server))
        assert (again.code, again.err) == (1, f"error conflict: nothing waits for a decision in thread {told[1]}\n")


async def test_a_program_reads_what_waits_and_approves_it(serving: Serving, tmp_path: Path) -> None:
    async with office(serving, tmp_path, calling(create("Helios"))) as (server, crm, _):
        asked = json.loads((await call(*ASKED, "--json", "Add the leads, please.", **access(server))).out)
        [interrupt] = asked["interrupts"]
        assert (asked["answer"], interrupt["value"]["action_requests"][0]["name"]) == ("", "crm__create")
        decided = json.loads((await call("decide", "--json", "--approve", asked["thread_id"], **access(server))).out)
        assert (decided["interrupts"], decided["answer"]) == ([], "create: done")
        assert [one["status"] for one in decided["tool_calls"]] == ["succeeded"]
        assert len(crm.effects) == 1
        assert (await call("decide", "--approve", "--reject", "x", asked["thread_id"], **access(server))).code == 2
