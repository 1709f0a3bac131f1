"""Assistants of the LangGraph API: one for each graph of the release, one for each specialist of the organisation's own. They
can't be changed here: specialists are changed under /v1/skills."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, get_type_hints

from fastapi import APIRouter, Body, Response
from langgraph.constants import START
from pydantic import PydanticUserError, TypeAdapter, create_model

from domain.errors import InvalidInput, NotFound
from server.assistants import Assistant
from server.deps import CallerDep, StateDep
from server.drawing.svg import draw_svg
from server.render.serialize import dumps
from server.schemas import AssistantSearch
from server.states import public_keys

router = APIRouter(tags=["assistants"])


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as JSON, messages and snapshots included."""
    return Response(dumps(value), status_code=status, media_type="application/json", headers=headers)


def page_headers(found: int, *, limit: int, offset: int) -> dict[str, str]:
    """The pagination headers of a search that looked for one more row than `limit`."""
    if found <= limit:
        return {"X-Pagination-Total": str(offset + found)}
    return {"X-Pagination-Total": str(offset + limit + 1), "X-Pagination-Next": str(offset + limit)}


def chosen(row: dict[str, Any], select: Sequence[str] | None) -> dict[str, Any]:
    """The fields asked for; all where none were."""
    return {name: row[name] for name in select} if select else row


@router.post("/assistants/search")
async def search_assistants(
    state: StateDep, caller: CallerDep, body: Annotated[AssistantSearch | None, Body()] = None
) -> Response:
    """The assistants that fit: by graph, a part of the name, or metadata they contain."""
    asked = body or AssistantSearch()
    rows = _matching(await state.assistants.all(caller.organization_id), asked)
    key = asked.sort_by or "created_at"
    rows.sort(key=lambda row: row[key], reverse=(asked.sort_order or "desc") == "desc")
    page = rows[asked.offset : asked.offset + asked.limit]
    headers = page_headers(len(rows[asked.offset :]), limit=asked.limit, offset=asked.offset)
    return json_response([chosen(row, asked.select) for row in page], headers=headers)


@router.post("/assistants/count")
async def count_assistants(
    state: StateDep, caller: CallerDep, body: Annotated[AssistantSearch | None, Body()] = None
) -> Response:
    """How many assistants fit."""
    return json_response(len(_matching(await state.assistants.all(caller.organization_id), body or AssistantSearch())))


def _matching(assistants: Iterable[Assistant], asked: AssistantSearch) -> list[dict[str, Any]]:
    wanted = (asked.metadata or {}).items()
    rows = [assistant.as_json() for assistant in assistants]
    return [
        row
        for row in rows
        if asked.graph_id in (None, row["graph_id"])
        and (asked.name or "").lower() in row["name"].lower()
        and all(row["metadata"].get(key) == value for key, value in wanted)
    ]


@router.get("/assistants/{assistant_id}")
async def get_assistant(state: StateDep, caller: CallerDep, assistant_id: str) -> Response:
    """One assistant, by its id or its graph's name."""
    return json_response((await state.assistants.find(caller.organization_id, assistant_id)).as_json())


@router.post("/assistants/{assistant_id}/versions")
async def assistant_versions(state: StateDep, caller: CallerDep, assistant_id: str) -> Response:
    """The versions of an assistant: the one there is to run. Those of a specialist are under /v1/skills."""
    return json_response([(await state.assistants.find(caller.organization_id, assistant_id)).as_json()])


@router.get("/assistants/{assistant_id}/graph")
async def assistant_graph(state: StateDep, caller: CallerDep, assistant_id: str, xray: str = "false") -> Response:
    """The graph as `{nodes, edges}`. `xray`: true opens all subgraphs, a number that many levels of them."""
    graph_id = (await state.assistants.find(caller.organization_id, assistant_id)).graph_id
    drawable = (await state.graphs[graph_id].aget_graph(xray=_depth(xray))).to_json()
    for node in drawable.get("nodes", []):
        if isinstance(node.get("data"), dict):
            node["data"].pop("id", None)
    return json_response(drawable)


@router.get("/assistants/{assistant_id}/drawing", response_class=Response)
async def assistant_drawing(state: StateDep, caller: CallerDep, assistant_id: str) -> Response:
    """The graph as a picture (SVG), its subgraphs opened. Nodes carry `data-node`, edges `data-source` and `data-target`."""
    graph_id = (await state.assistants.find(caller.organization_id, assistant_id)).graph_id
    drawable = await state.graphs[graph_id].aget_graph(xray=True)
    return Response(await asyncio.to_thread(draw_svg, drawable, graph_id), media_type="image/svg+xml")


def _depth(xray: str) -> bool | int:
    word = xray.lower()
    if word in ("true", "false", ""):
        return word == "true"
    if word.isascii() and word.isdigit() and 0 < int(word[:6]) <= 100:
        return int(word)
    raise InvalidInput("xray", "must be true, false or a number of levels from 1 to 100")


@router.get("/assistants/{assistant_id}/schemas")
async def assistant_schemas(state: StateDep, caller: CallerDep, assistant_id: str) -> Response:
    """JSON Schemas of the graph's input, output, state, configuration and context."""
    graph_id = (await state.assistants.find(caller.organization_id, assistant_id)).graph_id
    return json_response({"graph_id": graph_id, **_schemas(state.graphs[graph_id])})


@router.get("/assistants/{assistant_id}/subgraphs")
@router.get("/assistants/{assistant_id}/subgraphs/{namespace}")
async def assistant_subgraphs(
    state: StateDep, caller: CallerDep, assistant_id: str, namespace: str | None = None, recurse: bool = False
) -> Response:
    """Schemas of the subgraphs by namespace; with `recurse` of theirs, too."""
    graph_id = (await state.assistants.find(caller.organization_id, assistant_id)).graph_id
    found = state.graphs[graph_id].aget_subgraphs(namespace=namespace, recurse=recurse)
    shown = {name: {"graph_id": name, **_schemas(graph)} async for name, graph in found}
    if namespace is not None and not shown:
        raise NotFound("namespace", namespace, assistant_id=assistant_id[:200])
    return json_response(shown)


def _schemas(graph: Any) -> dict[str, Any]:
    shown = _schema(graph, "State", public_keys(graph))
    return {
        "input_schema": _schema(graph, "Input", get_type_hints(graph.channels[START].UpdateType)),
        "output_schema": shown,
        "state_schema": shown,
        "config_schema": {},
        "context_schema": graph.get_context_jsonschema(),
    }


def _schema(graph: Any, name: str, keys: Iterable[str]) -> dict[str, Any]:
    """These channels as they are updated. Made from the channels: pydantic can't read a graph's TypedDicts on every Python."""
    fields: dict[str, Any] = {}
    for key in sorted(keys):
        kind = graph.channels[key].UpdateType
        try:
            create_model(key, value=(kind, None)).model_json_schema()
        except PydanticUserError:
            kind = Any
        fields[key] = (kind, None)
    return TypeAdapter(create_model(graph.get_name(name), **fields)).json_schema()
