"""Checkpoints are read as they were written, and revive nothing but messages and plain values."""

from __future__ import annotations

from typing import Any

import ormsgpack
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_SINGLE_ARG, EXT_PYDANTIC_V2, JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from storage.serde import MessageSerializer

CALL = {"name": "search_documents", "args": {"query": "неустойка"}, "id": "call_1", "type": "tool_call"}
MESSAGES: list[BaseMessage] = [
    HumanMessage("Что там? 🙂", id="h1"),
    HumanMessage([{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:,"}}], id="h2"),
    SystemMessage("Answer.", id="s1"),
    AIMessage(
        [{"type": "text", "text": "word", "annotations": [{"type": "citation", "title": "A"}]}],
        id="a1",
        name="main",
        tool_calls=[CALL],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={"stop_reason": "completed", "agents": ["main"]},
        additional_kwargs={"reasoning_content": "hm"},
    ),
    ToolMessage("{}", tool_call_id="call_1", id="t1", artifact={"child_thread_id": "x"}, status="error"),
    AIMessageChunk(content="a chunk", id="c1"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.id)
def test_a_message_is_read_as_langgraph_reads_it(message: BaseMessage) -> None:
    ours, standard = MessageSerializer(), JsonPlusSerializer(allowed_msgpack_modules=None)
    written = ours.dumps_typed(message)
    assert written == standard.dumps_typed(message)
    read = ours.loads_typed(written)
    assert read == message == standard.loads_typed(written)
    assert type(read) is type(message)
    assert read.model_dump() == message.model_dump()
    assert read.text == message.text
    copied = read.model_copy(update={"id": "other"})
    assert (copied.id, read.id) == ("other", message.id)
    assert ours.dumps_typed(read) == written


def test_a_snapshot_is_read_with_all_its_messages() -> None:
    serde = MessageSerializer()
    read = serde.loads_typed(serde.dumps_typed(_DeltaSnapshot(MESSAGES * 3)))
    assert isinstance(read, _DeltaSnapshot)
    assert read.value == MESSAGES * 3


def test_a_message_of_an_earlier_version_gets_its_missing_fields() -> None:
    fields = ("langchain_core.messages.human", "HumanMessage", {"content": "hello"}, "model_validate_json")
    read = MessageSerializer().loads_typed(("msgpack", _packed(EXT_PYDANTIC_V2, fields)))
    assert read == HumanMessage("hello")
    assert read.additional_kwargs == {}


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (EXT_CONSTRUCTOR_SINGLE_ARG, ("os", "system", "echo no")),
        (EXT_PYDANTIC_V2, ("subprocess", "Popen", {"args": "echo no"}, "model_validate_json")),
        (EXT_PYDANTIC_V2, ("langchain_core.prompts", "PromptTemplate", {"template": "{x}"}, "model_validate_json")),
    ],
)
@pytest.mark.parametrize("widened", [False, True])
def test_a_crafted_blob_revives_nothing(code: int, value: tuple[Any, ...], widened: bool) -> None:
    serde: JsonPlusSerializer = MessageSerializer()
    if widened:
        serde = serde.with_msgpack_allowlist([("decimal", "Decimal")])
    assert serde.loads_typed(("msgpack", _packed(code, value))) == value[2]


def _packed(code: int, value: tuple[Any, ...]) -> bytes:
    return ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(value)))
