"""An answer cut anywhere, on any wire: the reader has one complete answer of another provider's, and both are charged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph_sdk.client import LangGraphClient
from psycopg.rows import dict_row

from storage.invariants import violations
from tests.faults.conftest import WIRES, Serving, read_turn
from tests.upstream.reply import Call, Reply
from tests.upstream.server import Fault, Upstream

WORDS = [f"word{n} " for n in range(25)] + ["the end."]
WHOLE = "".join(WORDS)
CUTS: list[Fault] = ["cut", "half_chunk", "reset_midway", "error_midway"]


@dataclass
class Cut:
    """A server over three providers, of which the wire under test is asked first."""

    wire: str
    sdk: LangGraphClient
    three: dict[str, Upstream]
    owner_dsn: str

    @property
    def upstream(self) -> Upstream:
        return self.three[self.wire]

    async def thread(self) -> str:
        return str((await self.sdk.threads.create())["thread_id"])

    def charged(self, thread_id: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.owner_dsn, row_factory=dict_row) as conn:
            return conn.execute(
                "SELECT provider, status, prompt, completion, source FROM usage_ledger WHERE thread_id = %s "
                "ORDER BY created_at",
                (thread_id,),
            ).fetchall()


@pytest.fixture(params=WIRES)
async def cut(
    request: pytest.FixtureRequest, serving_three: Serving, three: dict[str, Upstream], owner_dsn: str
) -> AsyncIterator[Cut]:
    for n, upstream in enumerate(three.values()):
        upstream.policy = lambda body, n=n: Reply(list(WORDS), prompt_tokens=1000 + n, completion_tokens=30 + n)  # type: ignore[misc]
    async with serving_three() as server:
        client = server.sdk()
        yield Cut(request.param, client, three, owner_dsn)
        await client.aclose()
    assert violations(owner_dsn) == []


@given(fault=st.sampled_from(CUTS), after=st.integers(0, len(WORDS) + 4))
@settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
async def test_the_reader_has_one_complete_answer(cut: Cut, fault: Fault, after: int) -> None:
    thread = await cut.thread()
    begun = {name: len(upstream.spent) for name, upstream in cut.three.items()}
    cut.upstream.fail(fault, after=after)
    read = await read_turn(cut.sdk, thread, "What is the answer?", {"provider": cut.wire})
    assert read.error is None
    assert read.text == WHOLE
    state: dict[str, Any] = dict(await cut.sdk.threads.get_state(thread))
    assert [message["type"] for message in state["values"]["messages"]] == ["human", "ai"]
    for upstream in cut.three.values():
        await upstream.quiet()
    charged = cut.charged(thread)
    for name, upstream in cut.three.items():
        entries = [entry for entry in charged if entry["provider"] == name]
        told = upstream.spent[begun[name] :]
        assert len(entries) == len(told)
        assert all(entry["status"] == "committed" and entry["prompt"] > 0 for entry in entries)
        for spent in told:
            if spent.complete:
                assert any(
                    (e["prompt"], e["completion"], e["source"]) == (spent.prompt, spent.completion, "provider")
                    for e in entries
                )
    cut.upstream.heal()
    assert (await read_turn(cut.sdk, thread, "And again?", {"provider": cut.wire})).text == WHOLE


@given(after=st.integers(0, 12), fault=st.sampled_from(["cut", "half_chunk", "reset_midway"]))
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
async def test_a_tool_call_that_is_cut_is_executed_once_by_another(cut: Cut, fault: Fault, after: int) -> None:
    thread = await cut.thread()
    note = f"The reference of this conversation is {thread}."

    def policy(body: dict[str, Any]) -> Reply:
        if body["messages"][-1]["role"] == "tool":
            return Reply(list(WORDS))
        return Reply(calls=[Call("save_organization_note", f'{{"text": "{note}"}}', "call_save")])

    scripted = {name: upstream.policy for name, upstream in cut.three.items()}
    for upstream in cut.three.values():
        upstream.policy = policy
    cut.upstream.fail(fault, after=after)
    read = await read_turn(cut.sdk, thread, "Remember it.", {"provider": cut.wire})
    cut.upstream.heal()
    for name, upstream in cut.three.items():
        upstream.policy = scripted[name]
    assert read.text == WHOLE
    with psycopg.connect(cut.owner_dsn) as conn:
        assert conn.execute("SELECT status FROM tool_calls WHERE thread_id = %s", (thread,)).fetchall() == [
            ("succeeded",)
        ]
        assert conn.execute("SELECT count(*) FROM notes WHERE text = %s", (note,)).fetchone() == (1,)
