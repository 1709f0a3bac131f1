"""A day on which three providers lose a third of all calls, in every way they can: 300 turns, none lost, none shortened, none free."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest
from langgraph_sdk.client import LangGraphClient
from psycopg.rows import dict_row

from domain import errors
from storage.invariants import violations
from tests.faults.conftest import KEY, WIRES, Serving, read_turn, text_of
from tests.serving import Served
from tests.upstream.reply import Call, Reply
from tests.upstream.server import Fault, Planned, Upstream

TURNS = 300
THREADS = 60
AT_ONCE = 24
ORGANIZATIONS = ["acme", "borealis", "cedar", "delta", "ember"]
KINDS = ["plain", "plain", "note", "delegate", "search", "plain"]
MARK = re.compile(r"\[turn (\d+) (\w+)]")
ANYTIME: list[Fault] = [
    "rate_limit", "server_error", "reset", "html", "cut", "half_chunk", "error_midway", "reset_midway", "stall",
    "keepalives", "bad_json", "eof", "silent",
]  # fmt: skip
QUICK: list[Fault] = [fault for fault in ANYTIME if fault not in ("stall", "keepalives", "silent")]
"""Twice as often as those that take their time."""
IN_CALLS: dict[str, list[Fault]] = {
    "openai": ["eof_in_arguments", "length_in_arguments", "empty_id"],
    "ollama": ["eof_in_arguments"],
    "anthropic": ["eof_in_arguments", "length_in_arguments", "empty_id"],
}
REFUSALS = {
    kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ConsiliumError)
}
REFUSALS -= {errors.ConsiliumError.code}


def answer(turn: int) -> str:
    """The full text of a turn's answer; its length and its end give away what is missing."""
    words = " ".join(f"w{turn}x{n}" for n in range(12 + turn % 30))
    return f"Answer {turn} begins: {words} and ends {turn}."


@dataclass
class Provider:
    """A scripted model and its bad day. Every answer has a number of prompt tokens of its own, so that no two are confused."""

    name: str
    seed: int
    counted: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    rng: random.Random = field(init=False)
    anytime: list[Fault] = field(default_factory=list)
    in_calls: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def policy(self, body: dict[str, Any]) -> Reply:
        self.counted += 1
        reply = scripted(body)
        return Reply(
            reply.pieces, reply.calls, prompt_tokens=1000 + self.counted, completion_tokens=7 + self.counted % 50
        )

    def plan(self, number: int, body: dict[str, Any]) -> Planned | None:
        """A third of all calls fail."""
        if self.rng.random() >= 1 / 3:
            return None
        calls = bool(scripted(body).calls) and self.rng.random() < 0.5
        fault = self._deal(self.in_calls, IN_CALLS[self.name]) if calls else self._deal(self.anytime, ANYTIME + QUICK)
        after = self.rng.randrange(0, 20)
        if fault in IN_CALLS[self.name] or fault in ("eof", "bad_json"):
            after = 10_000  # the wire strikes by itself
        pause = self.rng.choice([None, None, 0.05, 0.3, 5]) if fault == "rate_limit" else None
        self.faults[fault] += 1
        return Planned(fault, after, None if pause is None else str(pause))

    def _deal(self, deck: list[Fault], faults: list[Fault]) -> Fault:
        """The next card of a shuffled deck: every fault comes."""
        if not deck:
            deck.extend(self.rng.sample(faults, len(faults)))
        return deck.pop()


def scripted(body: dict[str, Any]) -> Reply:
    """What the model says to a request on any wire: what the last marked message asks for."""
    messages = body["messages"]
    place, turn, kind = next(
        (i, int(found[-1][0]), found[-1][1])
        for i, message in reversed(list(enumerate(messages)))
        if message["role"] == "user" and (found := MARK.findall(json.dumps(message["content"])))
    )
    worked = len(messages) > place + 1 and any(_is_result(message) for message in messages[place + 1 :])
    tools = {str((tool.get("function") or tool).get("name")) for tool in body.get("tools") or []}
    if "finish_subagent" in tools:
        if not worked and turn % 2:
            return _call("search_documents", {"query": f"penalty {turn}"}, f"call_search_{turn}")
        return _call("finish_subagent", {"summary": answer(turn)}, f"call_finish_{turn}")
    if not worked and kind == "note":
        return _call("save_organization_note", {"text": f"Note of turn {turn}."}, f"call_note_{turn}")
    if not worked and kind == "search":
        return _call("search_documents", {"query": f"penalty {turn}"}, f"call_search_{turn}")
    if not worked and kind == "delegate":
        task = {"agent": "legal_agent", "task": f"Look into it [turn {turn} delegate]"}
        return _call("switch_to_subagent", task, f"call_switch_{turn}")
    return Reply([piece for piece in re.split(r"(?<= )", answer(turn)) if piece])


def _call(name: str, arguments: dict[str, Any], identifier: str) -> Reply:
    return Reply(calls=[Call(name, json.dumps(arguments), identifier)])


def _is_result(message: dict[str, Any]) -> bool:
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    return message["role"] == "tool" or any(block.get("type") == "tool_result" for block in blocks)


@dataclass
class Ended:
    """How a turn ended for its reader."""

    turn: int
    text: str | None
    error: dict[str, Any] | None
    retractions: int = 0


async def ask(http: httpx.AsyncClient, sdk: LangGraphClient, thread_id: str, turn: int) -> Ended:
    """A turn through the public API; every other one is read as it streams."""
    kind = KINDS[turn % len(KINDS)]
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": f"What about it? [turn {turn} {kind}]"}]}
    preferred = [None, "openai", "ollama", "anthropic"][turn % 4]
    body: dict[str, Any] = {
        "assistant_id": "supervisor",
        "input": asked,
        "context": {"provider": preferred} if preferred else {},
    }
    if turn % 2:
        values = (await http.post(f"/threads/{thread_id}/runs/wait", json=body, timeout=90)).json()
        return Ended(turn, None if "__error__" in values else text_of(values["messages"][-1]), values.get("__error__"))
    read = await read_turn(sdk, thread_id, asked["messages"][0]["content"], body["context"])
    return Ended(turn, read.text, read.error, read.retractions)


def watch(owner_dsn: str) -> None:
    """From now on every start of a tool is written down, also a second one in the same row."""
    with psycopg.connect(owner_dsn, autocommit=True) as conn:
        conn.execute(
            "CREATE TABLE tool_starts (run_id uuid, thread_id uuid, tool_call_id text, name text, arguments jsonb)"
        )
        conn.execute("GRANT INSERT ON tool_starts TO consilium_app")
        conn.execute("""
            CREATE FUNCTION note_start() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.status = 'running' THEN
                    INSERT INTO tool_starts VALUES (NEW.run_id, NEW.thread_id, NEW.tool_call_id, NEW.name, NEW.arguments);
                END IF; RETURN NEW; END $$""")
        conn.execute(
            "CREATE TRIGGER note_start AFTER INSERT OR UPDATE ON tool_calls FOR EACH ROW EXECUTE FUNCTION note_start()"
        )


def rows(owner_dsn: str, sql: str) -> list[dict[str, Any]]:
    with psycopg.connect(owner_dsn, row_factory=dict_row) as conn:
        return conn.execute(sql.encode()).fetchall()


@pytest.mark.timeout(180)
async def test_a_day_on_which_a_third_of_all_calls_is_lost(
    serving_three: Serving, three: dict[str, Upstream], owner_dsn: str
) -> None:
    day = {name: Provider(name, seed) for seed, name in enumerate(WIRES, start=7)}
    for name, provider in day.items():
        three[name].policy, three[name].plan = provider.policy, provider.plan
    hurried = {"CONSILIUM_LIMITS__TURN_SECONDS": "60", "CONSILIUM_BREAKER_OPEN_SECONDS": "0.4"}
    async with serving_three(CONSILIUM_DAILY_TOKENS="null", **hurried) as server:
        watch(owner_dsn)  # a server that starts refuses a table it doesn't know
        ended = await spend(server)
        explained = await explain_all(server, owner_dsn)
    for upstream in three.values():
        await upstream.quiet()
    assert len(ended) == TURNS
    check_answers(ended)
    check_tools(owner_dsn)
    check_ledger(owner_dsn, three)
    check_explained(explained, owner_dsn, three)
    lost, asked = (
        sum(p.faults.total() for p in day.values()),
        sum(len(upstream.requests) for upstream in three.values()),
    )
    assert 0.28 < lost / asked < 0.39
    for provider in day.values():
        assert set(provider.faults) >= {*ANYTIME, *IN_CALLS[provider.name]}, "every fault struck every provider"
    assert violations(owner_dsn) == []


async def spend(server: Served) -> list[Ended]:
    """All turns, some at once, those of a thread one after the other."""
    waiting: Iterator[int] = iter(range(THREADS))
    ended: list[Ended] = []
    clients = {name: (server.http(name), server.sdk(name)) for name in ORGANIZATIONS}

    async def worker() -> None:
        for number in waiting:
            http, sdk = clients[ORGANIZATIONS[number % len(ORGANIZATIONS)]]
            thread = await sdk.threads.create()
            for turn in range(number * TURNS // THREADS, (number + 1) * TURNS // THREADS):
                ended.append(await ask(http, sdk, thread["thread_id"], turn))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())
    for http, sdk in clients.values():
        await http.aclose()
        await sdk.aclose()
    return ended


async def explain_all(server: Served, owner_dsn: str) -> list[dict[str, Any]]:
    """The explanation of every run, through the API."""
    runs = rows(
        owner_dsn, "SELECT r.run_id, r.thread_id, o.name FROM runs r JOIN organizations o USING (organization_id)"
    )
    explained = []
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        for run in runs:
            headers = {"Authorization": f"Bearer {server.token(run['name'])}"}
            got = await http.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/explain", headers=headers)
            assert got.status_code == 200, got.text
            explained.append(got.json())
    return explained


def check_answers(ended: list[Ended]) -> None:
    """A complete answer or a typed refusal; and refusals are rare, as two other providers were there."""
    for one in ended:
        if one.error is None:
            assert one.text is not None
            assert one.text.strip() == answer(one.turn)
        else:
            assert one.error["error_code"] in REFUSALS, one.error
            assert KEY not in json.dumps(one.error)
    refused = [one for one in ended if one.error is not None]
    assert len(refused) <= TURNS * 0.02, refused
    assert sum(one.retractions for one in ended) > 0, "some answers were begun anew before the reader's eyes"


def check_tools(owner_dsn: str) -> None:
    """No call is executed twice, under one id or under two."""
    starts = rows(owner_dsn, "SELECT run_id, thread_id, tool_call_id, name, arguments FROM tool_starts")
    assert starts
    twice = [
        key for key, n in Counter((s["run_id"], s["thread_id"], s["tool_call_id"]) for s in starts).items() if n > 1
    ]
    assert twice == []
    wishes = Counter((s["thread_id"], s["name"], json.dumps(s["arguments"], sort_keys=True)) for s in starts)
    assert [wish for wish, n in wishes.items() if n > 1] == []
    notes = Counter(row["text"] for row in rows(owner_dsn, "SELECT text FROM notes"))
    assert [note for note, n in notes.items() if n > 1] == []


def check_ledger(owner_dsn: str, three: dict[str, Upstream]) -> None:
    """The ledger is the providers' own count: exact where they told it, estimated and marked so where they were cut off, be it
    before the first word; nothing where they refused."""
    entries = rows(owner_dsn, "SELECT provider, status, prompt, completion, source FROM usage_ledger")
    assert {entry["status"] for entry in entries} <= {"committed", "released"}
    for name, upstream in three.items():
        charged = [entry for entry in entries if entry["provider"] == name and entry["status"] == "committed"]
        exact = Counter((e["prompt"], e["completion"]) for e in charged if e["source"] == "provider")
        told = Counter((spent.prompt, spent.completion) for spent in upstream.spent if spent.complete)
        begun = Counter((spent.prompt, spent.completion) for spent in upstream.spent)
        assert told <= exact, f"{name}: of complete answers the ledger lacks {told - exact}"
        assert exact <= begun, f"{name}: the ledger has what was never said: {exact - begun}"
        assert len(charged) == len(upstream.spent), f"{name}: every answer that was begun is charged, and no other"
        estimated = [e for e in charged if e["source"] != "provider"]
        assert all(e["source"] == "estimated" and e["prompt"] > 0 for e in estimated)
    released = [e for e in entries if e["status"] == "released"]
    assert len(released) + sum(len(u.spent) for u in three.values()) == sum(len(u.requests) for u in three.values())
    held = rows(owner_dsn, "SELECT sum(reserved)::int AS reserved, sum(used)::int AS used FROM quota_days")
    spent = sum(e["prompt"] + e["completion"] for e in entries if e["status"] == "committed")
    assert held == [{"reserved": 0, "used": spent}]


def check_explained(explained: list[dict[str, Any]], owner_dsn: str, three: dict[str, Upstream]) -> None:
    """Every request a provider received is an attempt of some call of some run, and every token is in it."""
    assert len(explained) == TURNS
    assert all(run["unrecorded"] == [] for run in explained)
    attempts = [attempt for run in explained for call in run["calls"] for attempt in call["attempts"]]
    asked = Counter(attempt["provider"] for attempt in attempts if attempt["outcome"] != "skipped")
    assert asked == Counter({name: len(upstream.requests) for name, upstream in three.items()})
    assert all(attempt["error_code"] for attempt in attempts if attempt["outcome"] == "failed")
    by_run = {
        str(row["run_id"]): {"prompt": row["prompt"], "completion": row["completion"]}
        for row in rows(
            owner_dsn,
            "SELECT run_id, coalesce(sum(prompt), 0)::int AS prompt, coalesce(sum(completion), 0)::int AS completion "
            "FROM usage_ledger GROUP BY run_id",
        )
    }
    for run in explained:
        assert run["tokens"] == by_run.get(run["run_id"], {"prompt": 0, "completion": 0})
        answered = [call for call in run["calls"] if call["outcome"] == "answered"]
        assert all([a["outcome"] for a in call["attempts"]].count("answered") == 1 for call in answered)
        assert all(call["candidates"] for call in run["calls"])
