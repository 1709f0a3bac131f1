"""Histories in the form every provider accepts, and failures without secrets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from domain.errors import ProviderRejected, ProviderUnavailable
from providers.failures import of_status, retry_after, translate
from providers.history import repair_messages


def test_cited_blocks_become_text() -> None:
    blocks = [
        {"type": "text", "text": "Ten ", "annotations": [{"type": "citation", "url": "/x"}]},
        {"type": "text", "text": "days [1]"},
    ]
    [message] = repair_messages([AIMessage(content=blocks, response_metadata={"output_version": "v1"})])
    assert message.content == "Ten days [1]"
    assert "output_version" not in message.response_metadata


def test_what_needs_no_repair_is_the_same_object() -> None:
    messages = [HumanMessage("a", name="anna"), AIMessage("b"), ToolMessage("c", tool_call_id="1")]
    assert all(one is other for one, other in zip(repair_messages(messages), messages, strict=True))


def test_names_and_empty_answers() -> None:
    messages = [HumanMessage("a", name="Анна Иванова (legal)"), AIMessage("", name="x y")]
    [message] = repair_messages(messages)
    assert message.name == "legal"


def test_an_image_stays_a_block() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    [message] = repair_messages([HumanMessage([{"type": "text", "text": "see"}, image])])
    assert message.content == [{"type": "text", "text": "see"}, image]


@pytest.mark.parametrize(("value", "seconds"), [("3", 3.0), ("0.5", 0.5), ("soon", None), ("", None), ("-4", 0.0)])
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


def test_retry_after_as_a_date() -> None:
    wait = retry_after({"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=60))})
    assert wait is not None
    assert 50 < wait <= 60


def test_a_key_in_a_vendors_message_is_blotted_out() -> None:
    failed = of_status(400, {}, "x", "openai", "m")
    assert isinstance(failed, ProviderRejected)
    refused = translate(_ollama_error("bad: Bearer abc.def sk-12345 https://u:p@h"), "ollama", "m")
    assert refused is not None
    assert not any(secret in refused.message for secret in ("abc.def", "12345", ":p@"))


def test_a_fault_of_ours_stays_ours() -> None:
    assert translate(RuntimeError("ours"), "openai", "m") is None
    assert isinstance(translate(ConnectionResetError(), "openai", "m"), ProviderUnavailable)


def _ollama_error(text: str) -> Exception:
    import ollama

    return ollama.ResponseError(text, 400)
