"""A conversation that outgrows its model: the window is kept to, the older part is summarised once, and remembered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from domain.ids import ThreadId, organization_id
from storage.saver import acting_for, checkpoint_thread
from tests.acceptance.conftest import Serving
from tests.serving import Served
from tests.upstream.reply import Call, Reply
from tests.upstream.server import Upstream

WINDOW = 8192
TURNS = 62
FACT = re.compile(r"the code word of room \d+ is \w+-\d+")
CHATTER = "and by the way the weather at the harbour was fine this morning, with little wind and a good view. " * 3


class Reader:
    """A model of WINDOW tokens that answers at length and can summarise. It counts what it is sent."""

    def __init__(self) -> None:
        self.longest = 0
        self.summaries: list[dict[str, Any]] = []
        self.systems: list[str] = []

    def __call__(self, body: dict[str, Any]) -> Reply:
        tokens = pieces(json.dumps([*body["messages"], body.get("tools")], ensure_ascii=False))
        self.longest = max(self.longest, tokens)
        system, last = body["messages"][0]["content"], body["messages"][-1]["content"]
        if "You keep the memory" in system:
            self.summaries.append(body)
            facts = dict.fromkeys(FACT.findall(last))
            return Reply([f"- {fact}\n" for fact in facts], prompt_tokens=tokens, completion_tokens=50)
        self.systems.append(system)
        return Reply([f"Noted. {CHATTER}"], prompt_tokens=tokens, completion_tokens=80)


def pieces(text: str) -> int:
    """About as many tokens as a large model has for it."""
    return len(re.findall(r"[A-Za-z]{1,6}|[а-яё]{1,4}|\d{1,3}|[^\w\s]{1,2}", text, re.IGNORECASE))


@pytest.fixture
def catalogue(tmp_path: Path) -> str:
    """One cloud provider with a small and a cheaper smaller model, and the one that quotes."""
    given = yaml.safe_load(Path("config/providers.yaml").read_text("utf-8"))["providers"]
    openai, extractive = (next(p for p in given if p["name"] == name) for name in ("openai", "extractive"))
    able = {"tools": True, "structured_output": True, "reasoning": False, "context_tokens": WINDOW}
    price = {"completion_micro_usd": 100}
    openai["models"] = [
        {"name": "gpt-4o-mini", "capabilities": able, "price": {"prompt_micro_usd": 90, **price}},
        {"name": "cheap", "capabilities": able, "price": {"prompt_micro_usd": 10, **price}},
    ]
    path = tmp_path / "providers.yaml"
    path.write_text(yaml.safe_dump({"providers": [openai, extractive]}), "utf-8")
    return str(path)


async def say(server: Served, thread: str, text: str, **options: Any) -> dict[str, Any]:
    """One turn to its end; the state."""
    asked = {"messages": [{"role": "user", "content": text}]}
    return dict(await server.sdk().runs.wait(thread, "supervisor", input=asked, **options))


async def tell(server: Served, thread: str, room: int) -> dict[str, Any]:
    """A turn with a fact among other things."""
    return await say(server, thread, f"Please note: the code word of room {room} is heron-{room}, {CHATTER}")


async def summary_of(server: Served, thread: str) -> dict[str, Any] | None:
    """What the conversation's state keeps."""
    acme = organization_id("acme")
    with acting_for(acme):
        configurable = {"thread_id": checkpoint_thread(acme, ThreadId(thread)), "checkpoint_ns": ""}
        state = await server.state.graphs["supervisor"].aget_state({"configurable": configurable})
    return state.values.get("summary")


async def test_a_long_conversation_stays_within_a_small_window(
    serving: Serving, catalogue: str, owner_dsn: str
) -> None:
    reader = Reader()
    with Upstream(reader) as upstream:
        async with serving(upstream, CONSILIUM_PROVIDERS_FILE=catalogue) as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            for room in range(TURNS):
                values = await tell(server, thread, room)
                assert values["messages"][-1]["response_metadata"]["stop_reason"] == "completed"
            assert len(values["messages"]) == 2 * TURNS
    assert reader.longest <= WINDOW
    # it is made once in several turns, not in every one, by the cheaper model
    assert 2 <= len(reader.summaries) <= TURNS // 4
    assert {body["model"] for body in reader.summaries} == {"cheap"}
    # each takes up where the one before ended
    firsts = [
        [int(n) for n in re.findall(r"User: Please note: the code word of room (\d+)", last(b))]
        for b in reader.summaries
    ]
    assert [n for rooms in firsts for n in rooms] == list(range(sum(map(len, firsts))))
    assert "room 0 is heron-0" in reader.systems[-1]
    assert "room 7 is heron-7" in reader.systems[-1]
    with psycopg.connect(owner_dsn) as conn:
        booked = conn.execute("SELECT count(*) FROM usage_ledger WHERE purpose = 'summary'").fetchone()
    assert booked == (len(reader.summaries),)


def last(body: dict[str, Any]) -> str:
    """What the last message of a request says."""
    return str(body["messages"][-1]["content"])


async def test_a_summary_that_fails_costs_no_turn(serving: Serving, catalogue: str) -> None:
    reader = Reader()

    def broken(body: dict[str, Any]) -> Reply:
        reply = reader(body)
        return Reply([], finish="stop") if "You keep the memory" in body["messages"][0]["content"] else reply

    with Upstream(broken) as upstream:
        async with serving(upstream, CONSILIUM_PROVIDERS_FILE=catalogue) as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            for room in range(40):
                values = await tell(server, thread, room)
                assert values["messages"][-1]["response_metadata"]["stop_reason"] == "completed"
            async with server.http() as http:
                runs = (await http.get(f"/threads/{thread}/runs", params={"limit": 100})).json()
                explained = [(await http.get(f"/threads/{thread}/runs/{run['run_id']}/explain")).json() for run in runs]
    calls = [call for one in explained for call in one["calls"]]
    failed = [call for call in calls if call["purpose"] == "summary"]
    assert {call["outcome"] for call in failed} == {"failed"}
    assert 1 <= len(failed) <= 6
    assert reader.longest <= WINDOW
    # instead of it the questions are quoted
    assert "room 1 is heron-1" in reader.systems[-1]
    # what a prompt was cut by is said
    prompts = [call["policy"]["prompt"] for call in calls if call["purpose"] == "answer"]
    assert all(prompt["tokens"] <= prompt["limit"] < prompt["context"] == WINDOW for prompt in prompts)


async def test_without_a_model_the_conversation_is_summed_up_by_quoting(serving: Serving, catalogue: str) -> None:
    async with serving(
        None, wire=None, CONSILIUM_PROVIDERS_FILE=catalogue, CONSILIUM_LIMITS__MAX_PROMPT_TOKENS="3000"
    ) as server:
        thread = (await server.sdk().threads.create())["thread_id"]
        for room in range(12):
            values = await tell(server, thread, room)
            assert values["messages"][-1]["type"] == "ai"
        summary = await summary_of(server, thread)
        assert summary is not None
        assert summary["by"] == "extract"
        assert "room 1 is heron-1" in summary["text"]
        covered = [m["id"] for m in values["messages"]][: summary["messages"]]
        assert covered[-1] == summary["until"]


async def test_a_question_that_can_not_fit_is_refused_by_name(serving: Serving, catalogue: str) -> None:
    reader = Reader()
    with Upstream(reader) as upstream:
        async with serving(upstream, CONSILIUM_PROVIDERS_FILE=catalogue) as server:
            thread = (await server.sdk().threads.create())["thread_id"]
            values = await say(server, thread, "harbour weather " * 4000, raise_error=False)
            error = values["__error__"]
            assert error["error_code"] == "too_large"
            assert error["details"]["part"] == "question"
            assert "question" in error["message"]
            assert upstream.requests == []
            again = await say(server, thread, "And a short one?", raise_error=False)
            assert "__error__" not in again, "what was refused is history, and history is trimmed"


async def test_a_tool_call_keeps_its_result(serving: Serving, catalogue: str) -> None:
    """Of a turn with many long results the middle of the results goes, then whole steps."""
    reader = Reader()
    steps = 0

    def searching(body: dict[str, Any]) -> Reply:
        nonlocal steps
        reader(body)
        calls = {call["id"] for message in body["messages"] for call in message.get("tool_calls") or ()}
        results = {message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"}
        assert calls == results
        steps += 1
        if steps > 9 or not body.get("tools"):
            return Reply(["done"])
        return Reply(
            calls=[Call("search_documents", json.dumps({"query": f"harbour rules part {steps}"}), f"c{steps}")]
        )

    with Upstream(searching) as upstream:
        async with serving(upstream, CONSILIUM_PROVIDERS_FILE=catalogue) as server:
            rules = "\n\n".join(f"## Part {n}\n\n{n}.1. Harbour rules, part {n}. {CHATTER * 2}" for n in range(40))
            await server.upload("rules.md", f"# Harbour rules\n\n{rules}")
            thread = (await server.sdk().threads.create())["thread_id"]
            values = await say(server, thread, "What do the harbour rules say about moorings and the harbour master?")
            assert values["messages"][-1]["content"][0]["text"] == "done"
    assert steps == 10
    assert reader.longest <= WINDOW
