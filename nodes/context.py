"""`context`: a turn begins. The relevant passages and notes are found before any model is called."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from langgraph.runtime import Runtime

from domain.ids import ThreadId
from nodes.agent import Agent, skills_of
from nodes.prompt import last_question
from nodes.runtime import RunContext, Services
from nodes.state import Delegation, State, Turn, changed
from nodes.texts import language_of
from retrieval.cite import number
from retrieval.recall import Asked

LONGEST_QUERY = 4000
"""Characters."""
SHORT_QUESTION = 25
"""Characters below which a question is read together with the one before it ("and in euros?")."""


def make(services: Services, agent: Agent) -> Any:
    """The node for one agent."""

    async def context(state: State, runtime: Runtime[RunContext]) -> dict[str, Any]:
        question, query = _question(state)
        run = runtime.context
        skill = agent.skill(state, run)
        delegation = state.get("delegation")
        asked = Asked(run.organization_id, query, skill.retrieval.passages, skill.retrieval.notes)
        known = await services.recall.about(asked, run.run_id)
        turn: Turn = {
            "language": language_of(question),
            "deadline": delegation["deadline"] if delegation else time.time() + services.limits.turn_seconds,
            "tool_steps": 0,
            "tool_errors": 0,
            "delegations": 0,
            "notes": [note.text for note in known.notes],
            "stop_reason": None,
            "agents": [skill.name],
            "stripped": 0,
        }
        sources = [source.model_dump(mode="json") for source in number(known.passages, [])]
        return {
            "turn": turn,
            **changed(state, sources=sources, citations=[]),
            **await _without_gone_child(services, state, run),
            # of the turn before; each would be written to the database, so only where there is something to clear
            **{name: None for name in ("finish", "draft", "children") if state.get(name)},
            **(
                {"local_only": True}
                if any(passage.local_only for passage in known.passages) or _inherits(delegation)
                else {}
            ),
        }

    return context


async def _without_gone_child(services: Services, state: State, run: RunContext) -> dict[str, Any]:
    """A child whose agent the organisation has no more ends here: the message is the supervisor's."""
    active = state.get("active_child")
    if active is None or active["agent"] in skills_of(services, run):
        return {}
    if run.run_id is not None:
        await services.children.set_status(run.organization_id, ThreadId(active["child_thread_id"]), "completed")
    return {"active_child": None}


def _inherits(delegation: Delegation | None) -> bool:
    return delegation is not None and delegation.get("local_only", False)


def whole_query(given: Mapping[str, Any] | None) -> str | None:
    """The query of a turn with this input (messages in canonical form); None where it depends on more than its last message."""
    messages = given["messages"] if given else []
    if not messages or messages[-1]["type"] != "human" or not isinstance(said := messages[-1]["content"], str):
        return None
    return said[:LONGEST_QUERY] if len(said) >= SHORT_QUESTION else None


def _question(state: State) -> tuple[str, str]:
    """The last human message's text, and the query made of it."""
    messages = state["messages"]
    at = last_question(messages)
    question = messages[at].text if at >= 0 else ""
    before = last_question(messages[:at]) if at > 0 else -1
    if before >= 0 and len(question) < SHORT_QUESTION:
        return question, f"{messages[before].text}\n{question}"[:LONGEST_QUERY]
    return question, question[:LONGEST_QUERY]
