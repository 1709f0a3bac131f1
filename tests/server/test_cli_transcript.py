"""What `consilium ask` makes of a stream, whatever order and shape it comes in."""

from __future__ import annotations

from typing import Any

from server.cli.terminal import ENGLISH, RUSSIAN, clean, words_for
from server.cli.transcript import Transcript, source_lines


class Paper:
    """A screen that keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def line(self, text: str = "", *, style: str = "") -> None:
        if self.text and not self.text.endswith("\n"):
            self.text += "\n"
        self.text += text + "\n"


def chunk(text: str, id: str = "m1") -> list[dict[str, Any]]:
    return [{"type": "AIMessageChunk", "content": text, "id": id}, {"langgraph_node": "model"}]


def finish(text: str, id: str = "m1", **extra: Any) -> dict[str, Any]:
    message = {"type": "ai", "content": [{"type": "text", "text": text}], "id": id, **extra}
    return {"finish": {"messages": [message], "citations": []}}


def read(*parts: tuple[str, Any]) -> tuple[Transcript, str]:
    paper = Paper()
    transcript = Transcript(paper, "supervisor")
    for event, data in parts:
        transcript.read(event, data)
    return transcript, paper.text


def test_a_streamed_answer_is_not_repeated_by_its_final_message() -> None:
    transcript, shown = read(
        ("messages", chunk("Hello ")), ("messages", chunk("world")), ("updates", finish("Hello world"))
    )
    assert shown == "Hello world"
    assert transcript.text == "Hello world"


def test_what_was_not_streamed_is_completed_from_the_final_message() -> None:
    assert read(("messages", chunk("Hello ")), ("updates", finish("Hello world")))[1] == "Hello world"
    assert read(("updates", finish("Hello world")))[1] == "Hello world"


def test_a_corrected_answer_is_shown_whole() -> None:
    assert read(("messages", chunk("Helo")), ("updates", finish("Hello")))[1] == "Helo\n\nHello"


def test_the_specialists_own_words_stay_in_its_conversation() -> None:
    shown = read(
        ("messages|legal_agent:1", chunk("thinking", "c1")),
        ("updates|legal_agent:1", finish("the child's", "c1")),
        ("updates", finish("the parent's")),
    )[1]
    assert shown == "the parent's"


def test_whole_messages_of_other_nodes_are_not_streamed_text() -> None:
    tool = [{"type": "tool", "content": "{}", "id": "t"}, {}]
    said = [{"type": "ai", "content": "Hello", "id": "m1"}, {}]
    assert read(("messages", tool), ("messages", said), ("updates", finish("Hello")))[1] == "Hello"


def test_tools_and_delegations_are_a_line_each() -> None:
    call = {"type": "tool_call", "agent": "legal_agent", "name": "search_documents", "arguments": {"query": "пени"}}
    hand_over = {"type": "delegation", "agent": "legal_agent", "child_thread_id": "c", "task": "Find\nit"}
    transcript, shown = read(
        ("custom", {**hand_over, "status": "waiting"}),
        ("custom|legal_agent:1", {**call, "status": "running"}),
        ("custom|legal_agent:1", {**call, "status": "succeeded", "duration_ms": 12}),
        ("custom", {**call, "status": "failed", "duration_ms": 3, "error": {"code": "tool_crashed", "message": "no"}}),
        ("custom", {**hand_over, "status": "completed"}),
    )
    assert shown.splitlines() == [
        "supervisor → legal_agent: Find it",
        'legal_agent  ✓ search_documents(query="пени")  12 ms',
        'legal_agent  ✗ search_documents(query="пени")  3 ms  tool_crashed: no',
        "legal_agent → supervisor  ✓",
    ]
    assert [delegation["status"] for delegation in transcript.delegations] == ["completed"]


def test_usage_counts_every_call_of_the_run_once() -> None:
    def used(id: str, prompt: int, done: int) -> dict[str, Any]:
        return {
            "type": "ai",
            "id": id,
            "content": "",
            "usage_metadata": {"input_tokens": prompt, "output_tokens": done},
        }

    transcript, _ = read(
        ("updates|legal_agent:1", {"model": {"messages": [used("c1", 10, 1)]}}),
        ("updates", {"model": {"messages": [used("m1", 20, 2)]}}),
        ("updates", {"finish": {"messages": [used("m1", 20, 2)], "citations": []}}),
    )
    assert transcript.usage == (30, 3)
    assert read(("updates", finish("Hello")))[0].usage is None


def test_an_error_event_is_the_failure() -> None:
    transcript, _ = read(("error", {"error_code": "no_provider", "message": "none", "trace_id": "t"}))
    assert transcript.failure is not None
    assert (transcript.failure.code, transcript.failure.message, transcript.failure.trace_id) == (
        "no_provider",
        "none",
        "t",
    )


def test_a_document_can_not_drive_the_terminal() -> None:
    assert clean("a\x1b[2Jb\r\x07\n\tc") == "a[2Jb\n\tc"
    assert read(("messages", chunk("\x1b]0;x\x07")), ("updates", finish("\x1b]0;x\x07")))[1] == "]0;x"


def test_sources_name_the_place_and_are_listed_once() -> None:
    cited = {
        "n": 1,
        "document_id": "d",
        "version": 2,
        "title": "T",
        "page": 3,
        "section": "S",
        "start": 4,
        "end": 9,
        "quote": "q",
    }
    bare = {**cited, "n": 2, "page": None, "section": None}
    lines = [line for line, _ in source_lines([bare, cited, cited], ENGLISH, "http://h")]
    assert lines == [
        "[1] T · page 3 · section S · characters 4–9",
        "    «q»",
        "    http://h/v1/documents/d/versions/2/passage?start=4&end=9",
        "[2] T · characters 4–9",
        "    «q»",
        "    http://h/v1/documents/d/versions/2/passage?start=4&end=9",
    ]


def test_a_page_of_the_web_opens_at_its_own_address() -> None:
    cited = {
        "n": 1, "document_id": None, "version": None, "url": "https://a.example/x", "title": "T", "page": None, "section": None,
        "start": 4, "end": 9, "quote": "q", "answer_start": 0, "answer_end": 3,
    }  # fmt: skip
    lines = [line for line, _ in source_lines([cited, cited], ENGLISH, "http://h")]
    assert lines == ["[1] T", "    «q»", "    https://a.example/x"]


def test_the_labels_follow_the_question_and_then_the_locale() -> None:
    assert words_for("Какая неустойка?", {"LANG": "en_US.UTF-8"}) is RUSSIAN
    assert words_for("What is the penalty?", {"LANG": "ru_RU.UTF-8"}) is ENGLISH
    assert words_for("Что такое NDA?", {}) is RUSSIAN
    assert words_for("42?", {"LANG": "ru_RU.UTF-8"}) is RUSSIAN
    assert words_for(None, {}) is ENGLISH
