"""All graphs of the process by the names their assistants have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from domain.skills import Skill
from graphs import specialist, supervisor
from graphs.skills import MAIN, load_skills
from nodes.runtime import Services

Graphs = Mapping[str, CompiledStateGraph[Any, Any, Any, Any]]


def build_graphs(
    services: Services, skills: Mapping[str, Skill], checkpointer: BaseCheckpointSaver | None = None
) -> Graphs:
    """`supervisor` (the whole) and each specialist alone."""
    specialists = [skill for name, skill in skills.items() if name != MAIN]
    alone = {skill.name: specialist.build(services, skill, checkpointer) for skill in specialists}
    return {"supervisor": supervisor.build(services, skills[MAIN], specialists, checkpointer), **alone}


def drawing_graphs() -> Graphs:
    """The graphs as they are drawn: nothing behind their nodes, so they can't be run."""
    return build_graphs(cast(Services, None), load_skills())
