"""OpenAI's list of models: the agents, the models of the usable providers, and `auto`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Response

from domain.errors import UnknownModel
from domain.identity import Identity
from server.deps import AppState, CallerDep, StateDep
from server.gateway import AUTO
from server.render.serialize import dumps

router = APIRouter(prefix="/v1/models", tags=["openai"])
_OURS = "consilium"


@router.get("")
async def models(state: StateDep, caller: CallerDep) -> Response:
    """What `model` may be in chat completions and, where `capabilities.embeddings`, in embeddings."""
    return _json({"object": "list", "data": await _entries(state, caller)})


@router.get("/{model:path}")
async def model(state: StateDep, caller: CallerDep, model: str) -> Response:
    """One of them, by its name or an alias."""
    entries = await _entries(state, caller)
    found = next((entry for entry in entries if model == entry["id"] or model in entry.get("aliases", ())), None)
    if found is None:
        available = [entry["id"] for entry in entries]
        raise UnknownModel(
            f"There is no model '{model[:200]}'. Available: {', '.join(available)}.", available=available
        )
    return _json({**found, "id": model})


async def _entries(state: AppState, caller: Identity) -> list[dict[str, Any]]:
    agents = await state.assistants.all(caller.organization_id)
    return [
        *(_entry(agent.name, _OURS, kind="agent") for agent in agents),
        _entry(AUTO, _OURS, kind="router"),
        *_models(state),
    ]


def _models(state: AppState) -> Iterator[dict[str, Any]]:
    for row in state.services.providers.matrix():
        if row["usable"]:
            for spec in row["models"]:
                yield _entry(
                    f"{row['provider']}/{spec['name']}",
                    row["provider"],
                    kind="model",
                    aliases=[spec["name"], *spec["aliases"]],
                    location=row["location"],
                    capabilities=spec["capabilities"],
                )


def _entry(name: str, owner: str, **more: Any) -> dict[str, Any]:
    # clients insist on a number of seconds for `created`, which nobody knows of a model
    return {"id": name, "object": "model", "created": 0, "owned_by": owner, **more}


def _json(value: Any) -> Response:
    return Response(dumps(value), media_type="application/json")
