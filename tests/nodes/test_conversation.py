"""The reducer of messages does what LangGraph's own does, however writes are batched."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.graph.message import _messages_delta_reducer as langgraphs

from nodes.conversation import Conversation, reduce_messages


def write(dice: random.Random) -> Any:
    message_id = str(dice.randrange(12))
    made: list[Any] = [
        HumanMessage(f"said {dice.random()}", id=message_id),
        AIMessage(f"answered {dice.random()}", id=message_id),
        RemoveMessage(id=message_id),
        {"role": "user", "content": f"sent {dice.random()}", "id": message_id},
        HumanMessage("without an id"),
    ]
    one = dice.choice(made)
    return one if dice.random() < 0.3 else [one, *dice.sample(made[:3], dice.randrange(3))]


@pytest.mark.parametrize("seed", range(40))
def test_it_is_langgraphs_reducer_however_writes_are_batched(seed: int) -> None:
    dice = random.Random(seed)
    expected: list[AnyMessage] = []
    kept = Conversation()
    writes: list[Any] = []
    for _ in range(12):
        batch = [write(dice) for _ in range(dice.randrange(1, 4))]
        writes += batch
        expected = langgraphs(expected, batch)
        before = list(kept)
        after = reduce_messages(kept, batch)
        assert list(kept) == before
        assert after == expected
        kept = copy.copy(after) if dice.random() < 0.5 else after
    assert reduce_messages([], writes) == expected
    assert reduce_messages(list(expected[:5]), []) == expected[:5]


def test_a_list_that_was_changed_otherwise_is_looked_at_anew() -> None:
    kept = reduce_messages([], [[HumanMessage("a", id="1"), HumanMessage("b", id="2")]])
    kept.pop(0)
    assert reduce_messages(kept, [HumanMessage("c", id="2")]) == [HumanMessage("c", id="2")]


@pytest.mark.parametrize("seed", range(20))
def test_copies_that_go_different_ways_know_nothing_of_each_other(seed: int) -> None:
    dice = random.Random(seed)
    begun = reduce_messages([], [[HumanMessage(f"{n}", id=str(n)) for n in range(4)]])
    ways: list[tuple[Conversation, list[AnyMessage]]] = [(begun, list(begun))]
    for _ in range(30):
        kept, expected = dice.choice(ways)
        batch = [write(dice)]
        ways.append((reduce_messages(kept, batch), langgraphs(expected, batch)))
    for kept, expected in ways:
        assert kept == expected
        assert reduce_messages(kept, [HumanMessage("new", id="3")]) == langgraphs(
            expected, [HumanMessage("new", id="3")]
        )
