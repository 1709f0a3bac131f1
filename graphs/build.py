"""All graphs of the process by the names their assistants have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from domain.skills import MAIN
from graphs import specialist, supervisor
from graphs.skills import load_skills
from nodes.delegate import ORGANIZATION_SPECIALIST
from nodes.runtime import Services

SUPERVISOR = "supervisor"
Graphs = Mapping[str, CompiledStateGraph[Any, Any, Any, Any]]


def build_graphs(services: Services, skills: Iterable[str], checkpointer: BaseCheckpointSaver | None = None) -> Graphs:
    """`supervisor` (the whole), each specialist of the operator's alone, and one for those that organisations add."""
    names = [name for name in skills if name != MAIN]
    return {
        SUPERVISOR: supervisor.build(services, names, checkpointer),
        **{name: specialist.build(services, name, checkpointer) for name in names},
        ORGANIZATION_SPECIALIST: specialist.build(
            services, ORGANIZATION_SPECIALIST, checkpointer, of_organization=True
        ),
    }


def drawing_graphs() -> Graphs:
    """The graphs as they are drawn: nothing behind their nodes, so they can't be run."""
    return build_graphs(cast(Services, None), load_skills())
