"""The checker of invariants: silent over a sound database, and it tells each break it is there for, by the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import ConfigurationError
from storage import embedded
from storage.invariants import LIMIT, Q, violations
from tests.serving import serve, settings_for
from tests.upstream.reply import Call, Reply
from tests.upstream.server import Upstream


@pytest.fixture
async def lived_in(owner_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with two organisations' runs, tool calls, checkpoints and usage, of a server that has gone."""

    def policy(body: dict[str, Any]) -> Reply:
        if body["messages"][-1]["role"] == "tool":
            return Reply(["it ", "is ", "noted"])
        return Reply(calls=[Call("save_organization_note", '{"text": "We close in August."}', "call_note")])

    with Upstream(policy) as upstream:
        monkeypatch.setenv("OPENAI_BASE_URL", upstream.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key-that-must-not-be-seen-anywhere")
        async with serve(settings_for(owner_dsn, tmp_path)) as server:
            for organization in ("acme", "borealis"):
                async with server.http(organization) as http:
                    limit = {"scope": "user", "subject": "ann", "daily_tokens": 1_000_000}
                    assert (await http.put("/v1/quotas", json={"limits": [limit]})).status_code == 200
                sdk = server.sdk(organization)
                thread = await sdk.threads.create()
                for question in ("Remember it.", "And again."):
                    asked: dict[str, Any] = {"messages": [{"role": "user", "content": question}]}
                    values = await sdk.runs.wait(thread["thread_id"], "supervisor", input=asked)
                    assert "__error__" not in values
                await sdk.aclose()
    return owner_dsn


BREAKS = {
    "i1_runs_are_accounted_for": "UPDATE runs SET status = 'pending' WHERE run_id = (SELECT run_id FROM runs LIMIT 1)",
    "i2_one_end": "UPDATE run_events SET terminal = false WHERE terminal AND run_id = (SELECT run_id FROM runs LIMIT 1)",
    "i2_seq_gapless": """
        UPDATE run_events SET seq_first = seq_first + 1
        WHERE (thread_id, seq_first) = (SELECT thread_id, max(seq_first) FROM run_events GROUP BY thread_id LIMIT 1)""",
    "i3_one_tool_message": """
        UPDATE run_events SET events = (
            SELECT jsonb_agg(event) FROM jsonb_array_elements(events) event WHERE NOT (event->'data') ? 'tools')""",
    "i3_no_call_is_left_open": "UPDATE tool_calls SET status = 'running', result = NULL",
    "i4_reserved_is_what_is_reserved": "UPDATE quota_days SET reserved = reserved + 7",
    "i4_used_is_the_ledger": "UPDATE usage_ledger SET prompt = prompt + 1 WHERE entry_id = (SELECT entry_id FROM usage_ledger LIMIT 1)",
    "i4_subjects_are_the_ledger": "UPDATE quota_subject_days SET used = used + 1 WHERE scope = 'user'",
    "i4_nothing_is_held_when_idle": """
        WITH held AS (
            UPDATE usage_ledger SET status = 'reserved', prompt = NULL, completion = NULL, source = NULL, settled_at = NULL
            WHERE entry_id = (SELECT entry_id FROM usage_ledger WHERE run_id IS NOT NULL LIMIT 1)
            RETURNING organization_id, day, reserved)
        UPDATE quota_days d SET reserved = d.reserved + held.reserved FROM held WHERE d.organization_id = held.organization_id""",
    "i5_one_effect": """
        ALTER TABLE tool_calls DROP CONSTRAINT tool_calls_pkey CASCADE;
        INSERT INTO tool_calls SELECT * FROM tool_calls LIMIT 1""",
    "i5_one_effect_a_call": """
        INSERT INTO tool_effects SELECT gen_random_uuid(), organization_id, thread_id, run_id, tool_call_id, agent, name, user_id
        FROM tool_effects LIMIT 1""",
    "i5_an_interrupt_is_answered_once": """
        INSERT INTO approvals (organization_id, thread_id, interrupt_id, run_id, conversation_id, agent, decided_by, trace_id, actions)
        SELECT organization_id, thread_id, 'i', run_id, thread_id, 'main', 'ann', 't', '[]' FROM runs""",
    "i6_organisations_agree": """
        UPDATE runs SET organization_id = (SELECT max(organization_id::text)::uuid FROM organizations)
        WHERE organization_id <> (SELECT max(organization_id::text)::uuid FROM organizations)""",
    "i7_holders_in_their_turn": "UPDATE runs SET attempt = 0",
    "i7_nothing_after_the_end": "UPDATE tool_calls SET finished_at = now() + interval '1 hour'",
    "i8_blobs_resolve": "DELETE FROM checkpoint_blobs",
}
"""What breaks each, and at least it."""


async def test_a_sound_database_has_no_violations(lived_in: str) -> None:
    assert violations(lived_in) == []
    with psycopg.connect(lived_in) as conn:
        for table in ("runs", "run_events", "tool_calls", "usage_ledger", "checkpoints"):
            assert conn.execute(f"SELECT count(*) > 0 FROM {table}".encode()).fetchone() == (True,), table


def test_an_empty_database_has_no_violations(owner_dsn: str) -> None:
    assert violations(owner_dsn) == []


def test_every_invariant_has_its_break() -> None:
    assert set(BREAKS) == set(Q)


@pytest.mark.parametrize("name", list(BREAKS))
async def test_a_break_is_told(lived_in: str, name: str) -> None:
    with psycopg.connect(lived_in, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")  # no trigger and no foreign key stands in the way
        conn.execute(BREAKS[name].encode())
    found = violations(lived_in)
    assert name in {violation.invariant for violation in found}, found
    assert all(violation.subject and violation.problem for violation in found)


def test_a_checkpoint_without_its_thread_is_told(owner_dsn: str) -> None:
    with psycopg.connect(owner_dsn, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute(
            "INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata) "
            "VALUES (gen_random_uuid() || ':' || gen_random_uuid(), '', '1', '{\"channel_versions\": {}}', '{}')"
        )
    assert [violation.invariant for violation in violations(owner_dsn)] == ["i6_organisations_agree"]


async def test_a_second_tool_message_is_told(lived_in: str) -> None:
    """Of another id, so that both would stay in the conversation."""
    with psycopg.connect(lived_in, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        changed = conn.execute(
            "UPDATE run_events SET events = events || (SELECT jsonb_agg(jsonb_set(event, '{data,tools,messages,0,id}', "
            "'\"another\"')) FROM jsonb_array_elements(events) event WHERE (event->'data') ? 'tools') "
            "WHERE jsonb_path_exists(events, '$[*].data.tools')"
        ).rowcount
    assert changed
    found = violations(lived_in)
    assert {violation.invariant for violation in found} == {"i3_one_tool_message"}
    assert all(violation.problem == "2 tool messages" for violation in found)


async def test_a_holder_that_writes_after_its_successor_is_told(lived_in: str) -> None:
    with psycopg.connect(lived_in, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("UPDATE runs SET attempt = 2")
        for attempt in (2, 1):
            conn.execute(
                "UPDATE run_events SET events = events || jsonb_build_array(jsonb_build_object('method', 'metadata', "
                "'data', jsonb_build_object('attempt', %s::int))) WHERE terminal",
                (attempt,),
            )
    found = violations(lived_in)
    assert {violation.invariant for violation in found} == {"i7_holders_in_their_turn"}
    assert "attempt 1 wrote after attempt 2" in found[0].problem


def test_every_invariant_is_checked() -> None:
    """I1 to I8 of what must hold."""
    assert {name.partition("_")[0] for name in Q} == {f"i{n}" for n in range(1, 9)}


def test_not_more_than_some_of_each_are_told(owner_dsn: str) -> None:
    with psycopg.connect(owner_dsn, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute(
            "INSERT INTO quota_days (organization_id, day, used, reserved) "
            "SELECT gen_random_uuid(), current_date, 0, 5 FROM generate_series(1, 50)"
        )
    assert len(violations(owner_dsn)) == LIMIT


def test_a_role_that_does_not_see_all_says_so(owner_dsn: str) -> None:
    """Rather than finding nothing wrong with the rows it doesn't see."""
    with pytest.raises(ConfigurationError, match="BYPASSRLS"):
        violations(embedded.application_dsn(owner_dsn, user="consilium_app"))
