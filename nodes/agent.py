"""Which agent a node works for, and by which skill: found at each turn, for skills are the organisation's to change."""

from __future__ import annotations

from collections.abc import Mapping

from domain.errors import NotFound
from domain.skills import MAIN, Skill
from nodes.runtime import RunContext, Services
from nodes.state import Routing


class Agent:
    """The agent of a graph's nodes. Without a name the delegation or the run says who works. `delegates`: it can hand over."""

    def __init__(self, services: Services, name: str | None, *, delegates: bool = False) -> None:
        self._services = services
        self._name = name
        self._delegates = delegates

    def skill(self, state: Routing, run: RunContext) -> Skill:
        """What the agent works by in this turn. Raises NotFound where the organisation has it no more."""
        delegation = state.get("delegation")
        name = self._name or (delegation["agent"] if delegation else run.agent)
        skills = skills_of(self._services, run)
        if name not in skills:
            raise NotFound("agent", name, available=sorted(skills))
        return skills[name]

    def specialists(self, run: RunContext) -> list[Skill]:
        """Whom the agent can hand over to in this turn."""
        return specialists_of(self._services, run) if self._delegates else []


def skills_of(services: Services, run: RunContext) -> Mapping[str, Skill]:
    """The skills in force for a run; the operator's in LangGraph Studio."""
    return services.skills if run.skills is None else run.skills


def specialists_of(services: Services, run: RunContext) -> list[Skill]:
    """All of them but the supervisor."""
    return [skill for name, skill in skills_of(services, run).items() if name != MAIN]
