"""Assistants: what a run can be started with. One for each graph of the release, and one for each specialist of an organisation's own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from domain.errors import NotFound
from domain.ids import AssistantId, OrganizationId, assistant_id
from domain.skills import MAIN, SkillRecord
from graphs.build import SUPERVISOR
from nodes.delegate import ORGANIZATION_SPECIALIST
from storage.skills import Skills

RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
"""When the release's assistants came into being: the same on every replica, as their ids are."""


@dataclass(frozen=True, slots=True)
class Assistant:
    """`agent` is the skill it works by, `graph_id` the graph that runs."""

    assistant_id: AssistantId
    name: str
    graph_id: str
    agent: str
    created_by: Literal["system", "user"] = "system"
    description: str | None = None
    version: int = 1
    created_at: datetime = RELEASED
    updated_at: datetime = RELEASED

    def as_json(self) -> dict[str, Any]:
        """The assistant as the LangGraph API shows it."""
        return {
            "assistant_id": self.assistant_id,
            "graph_id": self.graph_id,
            "name": self.name,
            "description": self.description,
            "config": {},
            "context": {},
            "metadata": {"created_by": self.created_by},
            "version": self.version,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


class Assistants:
    """Finds assistants. `graphs` are the names of those this server runs."""

    def __init__(self, graphs: Collection[str], skills: Skills) -> None:
        self._skills = skills
        self._released = {
            name: Assistant(assistant_id(name), name, name, MAIN if name == SUPERVISOR else name)
            for name in graphs
            if name != ORGANIZATION_SPECIALIST
        }

    def is_released(self, name: str) -> bool:
        """Whether the release has one of this name, which an organisation may have switched off."""
        return name in self._released

    def working_by(self, organization_id: OrganizationId, agent: str) -> Assistant:
        """The assistant that works by this skill, whether there is one of that name yet or not."""
        released = self._released.get(SUPERVISOR if agent == MAIN else agent)
        return released or _own(organization_id, agent)

    async def all(self, organization_id: OrganizationId) -> list[Assistant]:
        """Those the organisation has now: the release's but for what it has disabled, then its own."""
        records = (await self._skills.read(organization_id)).records
        released = [one for one in self._released.values() if one.agent not in records or records[one.agent].enabled]
        return [*released, *(_recorded(organization_id, record) for record in records.values() if _runs(record))]

    async def find(self, organization_id: OrganizationId, wanted: str) -> Assistant:
        """The assistant of that id or name. Raises NotFound naming those there are.

        One of the release is found without a look into the database, unless it is remembered as disabled.
        """
        found = next((one for one in self._released.values() if wanted in (one.name, one.assistant_id)), None)
        if found is not None and self._is_thought_enabled(organization_id, found.agent):
            return found
        there = await self.all(organization_id)
        for one in there:
            if wanted in (one.name, one.assistant_id):
                return one
        raise NotFound("assistant", wanted, available=sorted(one.name for one in there))

    def _is_thought_enabled(self, organization_id: OrganizationId, agent: str) -> bool:
        known = self._skills.known(organization_id)
        return known is None or agent in known.in_force


def _own(organization_id: OrganizationId, name: str) -> Assistant:
    """A specialist of the organisation's own; its id is another one in every organisation."""
    known_by = assistant_id(f"{organization_id}:{name}")
    return Assistant(known_by, name, ORGANIZATION_SPECIALIST, name, created_by="user")


def _recorded(organization_id: OrganizationId, record: SkillRecord) -> Assistant:
    return replace(
        _own(organization_id, record.skill.name),
        description=record.skill.description,
        version=record.version,
        created_at=record.created_at or RELEASED,
        updated_at=record.updated_at or RELEASED,
    )


def _runs(record: SkillRecord) -> bool:
    return record.source == "organization" and record.enabled
