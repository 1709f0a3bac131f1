"""The answer to what waits on a thread: found, checked and made into how a run goes on, before one is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langgraph.types import Interrupt

from domain.approvals import Answer, ApprovalRequest
from domain.errors import Conflict, InvalidInput
from domain.ids import ThreadId
from domain.runs import Thread
from server.engine.contract import Resumption
from server.states import Graph, ThreadStates
from tools.decisions import answer_of, decided, read_decisions

FIELD = "command.resume"


async def resumption(states: ThreadStates, thread: Thread, graph: Graph, resume: Any) -> Resumption:
    """`resume` as a run's command has it: `{interrupt id: answer}`, or the answer alone where one interrupt waits.

    Raises Conflict where what is answered doesn't wait, InvalidInput naming the field that is wrong.
    """
    if thread.parent_thread_id is not None:
        raise Conflict(
            "This is a child conversation; what waits in it is answered at its parent.",
            parent_thread_id=thread.parent_thread_id,
        )
    waiting = {one.id: one for one in (await states.latest(thread, graph)).interrupts}
    if not waiting:
        raise Conflict(
            "Nothing waits for an answer on this thread: it was decided, cancelled, or the conversation has gone on.",
            thread_id=thread.thread_id,
        )
    answers = _by_interrupt(resume, waiting)
    resumed: dict[str, Any] = {}
    approvals: list[Answer] = []
    for interrupt_id, answer, field in answers:
        value = waiting[interrupt_id].value
        if not (isinstance(value, Mapping) and "action_requests" in value):
            resumed[interrupt_id] = answer
            continue
        request = cast(ApprovalRequest, value)
        decisions = read_decisions(request, answer, field)
        resumed[interrupt_id] = answer_of(decisions)
        about = decided(request, decisions)
        approvals.append(Answer(interrupt_id, ThreadId(request["thread_id"]), request["agent"], about))
    return Resumption(resumed, tuple(approvals))


def _by_interrupt(resume: Any, waiting: Mapping[str, Interrupt]) -> list[tuple[str, Any, str]]:
    """(interrupt, its answer, the field where that stands)."""
    if isinstance(resume, Mapping) and resume and all(_is_interrupt_id(key) for key in resume):
        if gone := sorted(resume.keys() - waiting.keys()):
            raise Conflict(
                f"Interrupt '{gone[0]}' doesn't wait on this thread: it was decided, or the conversation has gone on.",
                interrupt_id=gone[0],
                waiting=sorted(waiting),
            )
        return [(key, answer, f"{FIELD}.{key}") for key, answer in resume.items()]
    if len(waiting) > 1:
        raise InvalidInput(FIELD, "must name what it answers: {interrupt id: answer}", waiting=sorted(waiting))
    return [(next(iter(waiting)), resume, FIELD)]


def _is_interrupt_id(key: Any) -> bool:
    return isinstance(key, str) and len(key) == 32 and all(digit in "0123456789abcdef" for digit in key)
