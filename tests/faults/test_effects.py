"""What a tool changes, it changes once: kill -9 and pauses between the effect and what is written of it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from server.auth import issue_token
from storage.invariants import violations
from tests.acceptance.approving import (
    ANALYST,
    APPROVE,
    ASKED,
    answer_of,
    calling,
    check_calls,
    create,
    delegating,
    one,
    wait,
)
from tests.mcp_servers.processes import LOOPBACK, Crm, crm
from tests.processes import environment, start
from tests.serving import settings_for
from tests.upstream.reply import Call, Policy, Reply
from tests.upstream.server import Upstream

FREE = "marketing_agent"
"""An agent that asks nobody."""


@dataclass
class Replicas:
    """Server processes over one database; all that are still there are killed in the end."""

    environ: dict[str, str]
    headers: dict[str, str]
    ports: list[str] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    async def add(self) -> LangGraphClient:
        """Another one; its client."""
        environ = environment(self.environ["DATABASE_URL"], Path(self.environ["CONSILIUM_DATA_DIR"]), **self.environ)
        environ["CONSILIUM_PORT"] = environment("", Path())["CONSILIUM_PORT"]
        self.processes.append(await start(environ))
        self.ports.append(environ["CONSILIUM_PORT"])
        return get_client(url=self.url, api_key=None, headers=self.headers)

    @property
    def url(self) -> str:
        """Of the last one."""
        return f"http://127.0.0.1:{self.ports[-1]}"

    def kill(self) -> None:
        """kill -9 of the last one."""
        self.processes[-1].kill()
        self.processes[-1].wait()

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=30)


@asynccontextmanager
async def replicas(owner_dsn: str, tmp_path: Path, policy: Policy) -> AsyncIterator[tuple[Replicas, Crm]]:
    token = issue_token(settings_for(owner_dsn, tmp_path), "acme", "ann", ["admin"], timedelta(hours=1))
    with Upstream(policy) as upstream:
        environ = environment(owner_dsn, tmp_path, OPENAI_BASE_URL=upstream.openai_url, **LOOPBACK)
        # little is stored by the way: what is not written on purpose is lost with the process
        environ["CONSILIUM_LEASE_SECONDS"] = "3"
        environ["CONSILIUM_FLUSH_SECONDS"] = "5"
        made = Replicas(environ, {"Authorization": f"Bearer {token}"})
        async with crm(tmp_path / "crm") as program:
            try:
                yield made, program
            finally:
                for process in made.processes:
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                    process.wait()


async def add_crm(made: Replicas, program: Crm) -> None:
    async with made.http() as http:
        body = {"name": "crm", "url": program.program.url, "agents": [ANALYST, FREE]}
        answer = await http.post("/v1/mcp/servers", json=body)
        assert answer.json()["state"] == "ready", answer.text


async def over(client: LangGraphClient, thread: str, run_id: str) -> Any:
    """The thread's values once the run is over."""
    async with asyncio.timeout(40):
        while (run := await client.runs.get(thread, run_id))["status"] in ("pending", "running"):
            await asyncio.sleep(0.05)
    assert run["status"] == "success", run
    return (await client.threads.get_state(thread))["values"]


@pytest.mark.parametrize("assistant", [ANALYST, "supervisor"])
async def test_what_waits_is_decided_after_a_restart(owner_dsn: str, tmp_path: Path, assistant: str) -> None:
    make = calling if assistant == ANALYST else delegating
    async with replicas(owner_dsn, tmp_path, make(create("Helios"))) as (made, program):
        client = await made.add()
        await add_crm(made, program)
        thread = (await client.threads.create())["thread_id"]
        interrupt = one(await wait(client, thread, assistant))
        made.kill()
        client = await made.add()
        known: Any = await client.threads.get(thread)
        assert known["status"] == "interrupted"
        assert [[interrupt]] == list(known["interrupts"].values())
        answer = {interrupt["id"]: {"decisions": [APPROVE]}}
        values = await wait(client, thread, assistant, command={"resume": answer})
        assert answer_of(values) == "create: done"
        assert len(program.effects) == 1
    assert violations(owner_dsn) == []


@pytest.mark.parametrize("assistant", [ANALYST, "supervisor"])
async def test_killed_between_the_effect_and_its_result(owner_dsn: str, tmp_path: Path, assistant: str) -> None:
    make = calling if assistant == ANALYST else delegating
    async with replicas(owner_dsn, tmp_path, make(create("Helios"))) as (made, program):
        client = await made.add()
        await add_crm(made, program)
        thread = (await client.threads.create())["thread_id"]
        interrupt = one(await wait(client, thread, assistant))
        program.hold()
        answer: Any = {"resume": {interrupt["id"]: {"decisions": [APPROVE]}}}
        run = await client.runs.create(thread, assistant, command=answer)
        await program.has_done(1)
        made.kill()
        program.release()
        client = await made.add()
        values = await over(client, thread, run["run_id"])
        assert answer_of(values) == "effect_unknown"
        assert len(program.effects) == 1
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT status, result FROM tool_effects").fetchall() == [("started", None)]
    assert violations(owner_dsn) == []


async def test_what_may_be_repeated_is_repeated_under_the_same_key(owner_dsn: str, tmp_path: Path) -> None:
    policy = calling(Call("crm__update", json.dumps({"name": "Helios", "price": 7})))
    async with replicas(owner_dsn, tmp_path, policy) as (made, program):
        client = await made.add()
        await add_crm(made, program)
        thread = (await client.threads.create())["thread_id"]
        program.hold()
        run = await client.runs.create(thread, FREE, input=ASKED)
        await program.has_done(1)
        made.kill()
        program.release()
        client = await made.add()
        assert answer_of(await over(client, thread, run["run_id"])) == "update: done"
        first, second = program.effects
        assert first == second
        assert first["key"]
    assert violations(owner_dsn) == []


class Pausing:
    """A model that makes the call, then holds its answer back until `released`."""

    def __init__(self) -> None:
        self._policy = calling(create("Helios"))
        self.asked, self.released = threading.Event(), threading.Event()

    def __call__(self, body: dict[str, Any]) -> Reply:
        if body["messages"][-1]["role"] == "tool":
            self.asked.set()
            self.released.wait(30)
        return self._policy(body)


async def test_killed_between_the_result_and_the_checkpoint(owner_dsn: str, tmp_path: Path) -> None:
    model = Pausing()
    async with replicas(owner_dsn, tmp_path, model) as (made, program):
        client = await made.add()
        await add_crm(made, program)
        thread = (await client.threads.create())["thread_id"]
        run = await client.runs.create(thread, FREE, input=ASKED)
        try:
            assert await asyncio.to_thread(model.asked.wait, 30)
        finally:
            made.kill()
            model.released.set()
        client = await made.add()
        values = await over(client, thread, run["run_id"])
        assert answer_of(values) == "create: done", "its result was kept, and is what the model reads"
        assert len(program.effects) == 1
        async with made.http() as http:
            [record] = (await http.get(f"/v1/threads/{thread}/tool_calls")).json()["tool_calls"]
        assert record["status"] == "succeeded"
    with psycopg.connect(owner_dsn) as conn:
        assert conn.execute("SELECT status FROM tool_effects").fetchall() == [("completed",)]
    assert violations(owner_dsn) == []


async def test_paused_beyond_its_lease_it_writes_nothing_afterwards(owner_dsn: str, tmp_path: Path) -> None:
    async with replicas(owner_dsn, tmp_path, calling(create("Helios"))) as (made, program):
        client = await made.add()
        await add_crm(made, program)
        thread = (await client.threads.create())["thread_id"]
        program.hold()
        run = await client.runs.create(thread, FREE, input=ASKED)
        await program.has_done(1)
        paused = made.processes[0]
        paused.send_signal(signal.SIGSTOP)
        program.release()
        client = await made.add()
        values = await over(client, thread, run["run_id"])
        assert answer_of(values) == "effect_unknown"
        with psycopg.connect(owner_dsn, autocommit=True) as conn:
            before = conn.execute("SELECT * FROM tool_effects").fetchall()
            paused.send_signal(signal.SIGCONT)
            # it hears of its answer, tries to write it down, is refused, and answers requests again
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{made.ports[0]}", headers=made.headers) as http:
                assert (await http.get(f"/threads/{thread}")).json()["status"] == "idle"
                await asyncio.to_thread(paused.send_signal, signal.SIGTERM)
                await asyncio.to_thread(paused.wait, 30)
            assert conn.execute("SELECT * FROM tool_effects").fetchall() == before
        check_calls((await client.threads.get_state(thread))["values"]["messages"])  # type: ignore[call-overload]
        assert len(program.effects) == 1
    assert violations(owner_dsn) == []
