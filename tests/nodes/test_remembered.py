"""What a long conversation costs less by: what was found out of a message is kept, and LangGraph sees the latest one only."""

from __future__ import annotations

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.pregel._messages import _state_values

from nodes.remembered import LONGEST, Remembered
from nodes.state import View


def test_each_message_is_looked_at_once_and_the_oldest_is_forgotten() -> None:
    looked: list[str] = []

    def find(message: BaseMessage) -> int:
        looked.append(message.text)
        return len(message.text)

    kept: Remembered[int] = Remembered(size=2)
    first, second, third = HumanMessage("1"), HumanMessage("22"), HumanMessage("333")
    assert [kept.get(one, find) for one in (first, second, first, second)] == [1, 2, 1, 2]
    assert looked == ["1", "22"]
    assert [kept.get(one, find) for one in (third, second, first)] == [3, 2, 1]
    assert looked == ["1", "22", "333", "1"]


def test_what_depends_on_something_else_is_kept_apart() -> None:
    kept: Remembered[str] = Remembered()
    message = HumanMessage("a")
    assert kept.get(message, lambda _: "one", by="x") == "one"
    assert kept.get(message, lambda _: "two", by="y") == "two"
    assert kept.get(message, lambda _: "three", by="x") == "one"


def test_messages_that_are_equal_are_not_taken_for_each_other() -> None:
    kept: Remembered[str] = Remembered()
    assert kept.get(HumanMessage("a"), lambda _: "one") == "one"
    assert kept.get(HumanMessage("a"), lambda _: "two") == "two"


def test_long_messages_are_not_held() -> None:
    kept: Remembered[str] = Remembered()
    message = HumanMessage("a" * (LONGEST + 1))
    assert kept.get(message, lambda _: "one") == "one"
    assert kept.get(message, lambda _: "two") == "two"


def test_langgraph_sees_the_latest_message_of_a_view() -> None:
    messages = [HumanMessage("a", id="1"), AIMessage("b", id="2")]
    view = View(messages=messages, citations=[])
    assert _state_values(view) == [messages[-1:]]
    assert (view["messages"], dict(view)) == (messages, {"messages": messages, "citations": []})
    assert _state_values(View(citations=[])) == [()]
