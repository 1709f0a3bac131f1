"""A turn read from a stream: retractions, specialists side by side, failures, waiting, the same turn from its messages."""

from __future__ import annotations

from typing import Any

from console.transcript import Child, ToolCall, Turn, shown_result, turns_of


def chunk(key: str, text: str) -> list[dict[str, Any]]:
    return [{"type": "AIMessageChunk", "id": key, "content": text}, {}]


def delegation(thread: str, agent: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "delegation",
        "child_thread_id": thread,
        "agent": agent,
        "task": f"task of {agent}",
        "status": status,
        **more,
    }


def finish(text: str, **about: Any) -> dict[str, Any]:
    message = {"type": "ai", "id": "m9", "content": text, "response_metadata": {"stop_reason": "completed", **about}}
    return {"finish": {"messages": [message], "citations": [{"n": 1, "title": "T", "quote": "q"}]}}


def read(*parts: tuple[str, Any]) -> Turn:
    turn = Turn("?")
    for event, data in parts:
        turn.read(event, data)
    return turn


def test_an_answer_grows_and_is_finished() -> None:
    turn = read(("metadata", {"run_id": "r1"}), ("messages", chunk("m9", "Half ")), ("messages", chunk("m9", "done")))
    assert (turn.run_id, turn.text, turn.status) == ("r1", "Half done", "running")
    turn.read("updates", finish("Half done.", provider="openai", model="gpt-4o"))
    turn.read("end", None)
    assert (turn.text, turn.status, turn.provider, len(turn.citations)) == ("Half done.", "done", "openai", 1)


def test_what_was_retracted_is_gone_and_told() -> None:
    retraction = {
        "type": "retraction",
        "message_id": "m1",
        "provider": "openai",
        "model": "gpt-4o",
        "error_code": "cut",
    }
    turn = read(
        ("messages", chunk("m1", "Wrong")),
        ("custom", {**retraction, "reason": None}),
        ("messages", chunk("m2", "Right")),
    )
    assert turn.text == "Right"
    assert [one.reason for one in turn.retractions] == ["cut"]
    turn = read(("messages", chunk("m1", "Wrong")), ("messages", [{"type": "remove", "id": "m1"}, {}]))
    assert turn.text == ""


def test_two_specialists_side_by_side_keep_their_own() -> None:
    call = {
        "type": "tool_call",
        "tool_call_id": "c1",
        "name": "search_documents",
        "agent": "legal_agent",
        "arguments": {},
    }
    turn = read(
        ("custom", delegation("t1", "legal_agent", "waiting")),
        ("custom", delegation("t2", "legal_agent", "waiting")),
        ("messages|legal_agent:a", chunk("x", "one")),
        ("messages|legal_agent:b", chunk("y", "two")),
        ("custom|legal_agent:b", {**call, "status": "running"}),
        ("custom|legal_agent:b", {**call, "status": "succeeded", "duration_ms": 7}),
        ("custom", delegation("t2", "legal_agent", "failed", error={"code": "deadline"})),
        ("custom", delegation("t1", "legal_agent", "completed")),
    )
    first, second = turn.children
    assert [(one.text, one.status) for one in (first, second)] == [("one", "completed"), ("two", "failed")]
    assert [(one.status, one.duration_ms) for one in second.calls] == [("succeeded", 7)]
    assert (first.calls, turn.text) == ([], "")


def test_a_specialist_that_was_there_before_has_a_place_too() -> None:
    turn = read(("messages|legal_agent:a", chunk("x", "It goes on")))
    assert [(child.agent, child.text) for child in turn.children] == [("legal_agent", "It goes on")]


def test_a_failure_a_stop_a_wait_and_a_question_to_a_person() -> None:
    assert read(("error", {"error": "quota_exceeded", "message": "m"})).status == "failed"
    assert read(("error", {"error": "run_cancelled", "message": "m"})).status == "stopped"
    assert read(("end", None)).status == "stopped"
    assert read(("updates", finish("Half", stop_reason="cancelled"))).status == "stopped"
    assert read(("custom", {"type": "quota_wait", "resumes_at": "2030-01-01T00:00:00Z"})).resumes_at is not None
    waiting = read(("updates", {"__interrupt__": [{"id": "i1", "value": {}}]}), ("end", None))
    assert (waiting.status, len(waiting.interrupts)) == ("waiting", 1)


def test_what_is_not_known_is_passed_over() -> None:
    turn = read(
        ("unheard|of", {"a": 1}),
        ("custom", {"type": "new"}),
        ("updates", {"node": None}),
        ("custom", []),
        ("end", None),
    )
    assert (turn.text, turn.steps) == ("", [])


def test_earlier_turns_come_from_their_messages() -> None:
    delegate = {"id": "c1", "name": "switch_to_subagent", "args": {"agent": "legal_agent", "task": "find it"}}
    search = {"id": "c2", "name": "search_documents", "args": {"query": "x"}}
    block = {"type": "text", "text": "So it is. [1]", "annotations": [
        {"type": "citation", "cited_text": "quote", "title": "Contract", "url": "/v1", "extras": {"n": 1, "document_id": "d", "page": 3}},
    ]}  # fmt: skip
    turns = turns_of(
        [
            {"type": "human", "id": "h1", "content": "What?"},
            {"type": "ai", "id": "a1", "name": "main", "content": "", "tool_calls": [delegate, search]},
            {
                "type": "tool",
                "tool_call_id": "c1",
                "content": "{}",
                "status": "success",
                "artifact": {"child_thread_id": "t1"},
            },
            {"type": "tool", "tool_call_id": "c2", "content": "nothing", "status": "error"},
            {"type": "ai", "id": "a2", "content": [block], "response_metadata": {"stop_reason": "completed"}},
            {"type": "human", "id": "h2", "content": "And?"},
        ]
    )
    first, second = turns
    child, call = first.steps
    assert isinstance(child, Child)
    assert isinstance(call, ToolCall)
    assert (child.thread_id, child.status, call.status, call.result) == ("t1", "completed", "failed", "nothing")
    assert (first.text, first.status) == ("So it is. [1]", "done")
    assert first.citations[0] | {"n": 1, "page": 3, "quote": "quote"} == first.citations[0]
    assert (second.question, second.status, second.text) == ("And?", "stopped", "")


def test_a_result_is_shown_without_its_envelope() -> None:
    assert shown_result('{"status": "success", "content": "Found."}') == "Found."
    assert shown_result('{"content": [1, 2]}') == "[\n  1,\n  2\n]"
    assert shown_result("plain") == "plain"


def test_own_specialists_side_by_side_share_a_node_and_are_told_apart() -> None:
    turn = read(
        ("custom", delegation("t1", "tax_agent", "waiting")),
        ("custom", delegation("t2", "hr_agent", "waiting")),
        ("messages|organization_specialist:b", [{**chunk("y", "two")[0], "name": "hr_agent"}, {}]),
        ("messages|organization_specialist:a", [{**chunk("x", "one")[0], "name": "tax_agent"}, {}]),
    )
    assert [(child.agent, child.text) for child in turn.children] == [("tax_agent", "one"), ("hr_agent", "two")]


def test_a_turn_that_goes_on_after_a_decision_keeps_its_specialist() -> None:
    calls = [{"id": "call_1", "name": "switch_to_subagent", "args": {"agent": "legal_agent", "task": "Look."}}]
    (turn,) = turns_of([{"type": "human", "content": "?"}, {"type": "ai", "content": "", "tool_calls": calls}])
    assert [child.status for child in turn.children] == ["waiting"]
    turn.read("custom", {**delegation("t1", "legal_agent", "active"), "tool_call_id": "call_1"})
    assert [(child.thread_id, child.status) for child in turn.children] == [("t1", "active")]
