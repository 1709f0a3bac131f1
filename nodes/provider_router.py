"""`provider_router`: order the models that may answer this call. The choice itself is the pure `providers.route.choose`."""

from __future__ import annotations

from typing import Any

from langgraph.config import get_stream_writer
from langgraph.runtime import Runtime
from pydantic import TypeAdapter

from domain.skills import Skill
from nodes.runtime import RunContext, Services
from nodes.state import State
from providers.route import Choice, Route, RouteRequest, choose

_ROUTE = TypeAdapter(Route)


def make(services: Services, skill: Skill) -> Any:
    """The node for one agent."""

    async def provider_router(state: State, runtime: Runtime[RunContext]) -> dict[str, Any]:
        run = runtime.context
        to_schema = run.mode == "json" and run.response_schema is not None and state.get("delegation") is None
        chosen = route_of(services, skill, run, tools=run.mode != "answer", json_output=to_schema).as_json()
        get_stream_writer()({"type": "route", "agent": skill.name, **chosen})
        return {"route": chosen}

    return provider_router


def route_of(
    services: Services, skill: Skill, run: RunContext, *, tools: bool = False, json_output: bool = False
) -> Route:
    """The models of a call of this agent, in order. With `json_output` the answer has to fit a schema."""
    request = RouteRequest(
        explicit=Choice(run.provider, run.model),
        skill=Choice(skill.model.provider, skill.model.model),
        tools=tools,
        json_output=json_output,
    )
    return choose(request, services.catalogue, services.providers.snapshot())


def restore(chosen: dict[str, Any]) -> Route:
    """The route as the state keeps it."""
    return _ROUTE.validate_python(chosen)
