"""`provider_router`: order the models that may answer this call. The choice itself is the pure `providers.choose.choose`."""

from __future__ import annotations

from typing import Any

from langgraph.config import get_stream_writer
from langgraph.runtime import Runtime
from pydantic import TypeAdapter

from domain.skills import Skill
from nodes.agent import Agent
from nodes.runtime import RunContext, Services
from nodes.state import Routing, State
from providers.route import Route

_ROUTE = TypeAdapter(Route)


def make(services: Services, agent: Agent) -> Any:
    """The node for one agent."""

    async def provider_router(state: Routing, runtime: Runtime[RunContext]) -> dict[str, Any]:
        skill = agent.skill(state, runtime.context)
        route = await _choose(services, skill, state, runtime.context)
        get_stream_writer()({"type": "route", "agent": skill.name, **_told(route)})
        return {"route": route.as_json()}

    return provider_router


async def route_of(services: Services, skill: Skill, state: Routing, run: RunContext, **needs: Any) -> Route:
    """The models of a call of this agent, in order. `needs` are fields of RouteRequest."""
    return await services.chooser.route(
        run.organization_id,
        run.user_id,
        run.wishes,
        skill=skill.model,
        tainted=bool(state.get("local_only")),
        **needs,
    )


def _told(route: Route) -> dict[str, Any]:
    """What readers of the run are told: who is in line, and who isn't though it could be. The call's explanation has it all."""
    able = [elimination for elimination in route.eliminations if elimination.code not in ("unusable", "no_embeddings")]
    return {
        "candidates": [{"provider": c.provider, "model": c.model, "reason": c.reason} for c in route.candidates],
        "eliminations": [{"provider": e.provider, "model": e.model, "code": e.code} for e in able],
    }


async def chosen_route(services: Services, skill: Skill, state: State, run: RunContext) -> Route:
    """What the router has chosen; chosen anew where the turn was taken up again after it."""
    chosen = state.get("route")
    return _ROUTE.validate_python(chosen) if chosen else await _choose(services, skill, state, run)


async def _choose(services: Services, skill: Skill, state: Routing, run: RunContext) -> Route:
    to_schema = run.mode == "json" and run.response_schema is not None and state.get("delegation") is None
    return await route_of(services, skill, state, run, tools=run.mode != "answer", json_output=to_schema)
