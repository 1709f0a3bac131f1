"""What a person's decision is answered with, in both forms of LangChain's requests."""

from __future__ import annotations

from typing import Any

import pytest
from nicegui import ui
from nicegui.testing import User

from console.decision import actions_of, resume_of
from tests.console.conftest import count, seen

ONE = {
    "id": "i1",
    "value": {"type": "tool_approval", "tool_call_id": "c1", "name": "update_lead", "args": {"price": 5}},
}
TWO = {
    "id": "i2",
    "value": {
        "action_requests": [{"name": "update_lead", "args": {"price": 5}}, {"name": "add_note", "args": {"text": "x"}}],
        "review_configs": [{"action_name": "add_note", "allowed_decisions": ["approve", "reject"]}],
    },
}


def test_the_actions_of_both_forms() -> None:
    (action,) = actions_of(ONE["value"])
    assert (action.name, action.arguments, "edit" in action.allowed) == ("update_lead", {"price": 5}, True)
    first, second = actions_of(TWO["value"])
    assert ("edit" in first.allowed, "edit" in second.allowed) == (True, False)
    assert actions_of("which colour?") == []


def test_an_answer_goes_to_its_own_interrupt() -> None:
    approve = {"type": "approve"}
    assert resume_of(ONE, [approve]) == {"i1": approve}
    assert resume_of(TWO, [approve, {"type": "reject"}]) == {"i2": {"decisions": [approve, {"type": "reject"}]}}


@pytest.mark.parametrize(
    ("interrupt", "clicks", "edited", "expected"),
    [
        (ONE, ["approve"], None, {"i1": {"type": "approve"}}),
        (ONE, ["reject", "dialog-save"], None, {"i1": {"type": "reject"}}),
        (ONE, ["approval-edit", "approve-changed"], None, {"i1": {"type": "approve"}}),
        (
            ONE,
            ["approval-edit", "approve-changed"],
            7,
            {"i1": {"type": "edit", "edited_action": {"name": "update_lead", "args": {"price": 7}}}},
        ),
    ],
)
async def test_a_card_gives_the_decision(
    visitor: User, interrupt: dict[str, Any], clicks: list[str], edited: int | None, expected: dict[str, Any]
) -> None:
    from console.agents import Agents
    from console.api import Api, open_http
    from console.context import Context
    from console.decision import Decision
    from console.session import Preferences, Visitor
    from console.texts import words

    given: list[Any] = []

    async def decide(answer: Any) -> None:
        given.append(answer)

    async with open_http("http://127.0.0.1:9") as http:
        ann = Visitor("", "ann", "acme", ())

        @ui.page("/decision")
        def page() -> None:
            context = Context(Api(http, ""), ann, Preferences("en", "light"), words("en"), ui.context.client)
            Decision(context, Agents([], "en"), interrupt, decide)

        await visitor.open("/decision")
        for click in clicks:
            if edited is not None and click == "approve-changed":
                for field in visitor.find(marker="argument-price").elements:
                    field.value = edited  # type: ignore[attr-defined]
            await visitor.should_see(marker=click, retries=30)
            visitor.find(marker=click).click()
        await seen(lambda: given == [expected], "the decision")
        assert count(visitor, marker="approval") == 0
