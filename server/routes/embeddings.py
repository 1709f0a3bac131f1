"""Embeddings in OpenAI's form, and similarities of texts."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from domain.identity import Identity
from domain.ids import new_id
from domain.policy import ModelPolicy
from domain.quota import model_subject
from domain.trace import current_trace_id
from providers.call import Origin
from providers.embedder import Embedded
from providers.embedding import Vector, cosine_matrix, cosine_pairs
from server.deps import AppState, CallerDep, StateDep
from server.embedding_request import Encoding, read_embedding, read_similarity
from server.gateway import AUTO

router = APIRouter(prefix="/v1", tags=["openai"])
AGENT = "embeddings"
"""Who the ledger says has asked."""
_TEXTS: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"type": "string"}}
_COMMON: dict[str, Any] = {"dimensions": {"type": "integer", "minimum": 1}}


def _body(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": list(required), "properties": {**properties, **_COMMON}}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post(
    "/embeddings",
    openapi_extra=_body(
        ["model", "input"],
        model={"type": "string", "description": "A model that makes embeddings, or `auto`."},
        input={"anyOf": [{"type": "string"}, _TEXTS]},
        encoding_format={"enum": ["float", "base64"]},
    ),
)
async def embeddings(request: Request, state: StateDep, caller: CallerDep) -> Response:
    """OpenAI's embeddings. Texts known from before cost nothing and are not counted in `usage`."""
    asked = read_embedding(await request.body(), request.headers.get("content-type", ""))
    call_id = new_id()
    made = await _embed(state, caller, asked.model, asked.texts, asked.dimensions, call_id)
    data = [
        {"object": "embedding", "index": n, "embedding": _encoded(vector, asked.encoding)}
        for n, vector in enumerate(made.vectors)
    ]
    return _answer({"object": "list", "data": data}, made, call_id)


@router.post(
    "/similarity",
    openapi_extra=_body(
        [],
        model={"type": "string", "default": AUTO},
        pairs={"type": "array", "items": {**_TEXTS, "minItems": 2, "maxItems": 2}},
        texts=_TEXTS,
        left=_TEXTS,
        right=_TEXTS,
    ),
)
async def similarity(request: Request, state: StateDep, caller: CallerDep) -> Response:
    """Cosine similarities: `similarities` of `pairs`, or `matrix` of `texts` with each other or of `left` with `right`, row by row."""
    asked = read_similarity(await request.body(), request.headers.get("content-type", ""))
    call_id = new_id()
    made = await _embed(state, caller, asked.model, [*asked.left, *asked.right], asked.dimensions, call_id)
    left, right = made.vectors[: len(asked.left)], made.vectors[len(asked.left) :]
    if asked.matrix:
        return _answer({"object": "similarity", "matrix": cosine_matrix(left, right)}, made, call_id)
    return _answer({"object": "similarity", "similarities": cosine_pairs(left, right)}, made, call_id)


async def _embed(
    state: AppState, caller: Identity, model: str, texts: Sequence[str], dimensions: int | None, call_id: str
) -> Embedded:
    """By the model that is named, or the router's choice. Raises NoProvider, UnknownModel, RateLimited, and as `Embedder.embed`."""
    named = model != AUTO
    wishes = ModelPolicy(model=model) if named else ModelPolicy()
    route = await state.services.chooser.route(caller.organization_id, caller.user_id, wishes, kind="embed")
    first = route.candidates[0]
    subject = model_subject(first.provider, first.model) if named else None
    await state.rates.admit(caller.organization_id, caller.user_id, subject)
    origin = Origin(
        organization_id=caller.organization_id,
        user_id=caller.user_id,
        agent=AGENT,
        purpose="embed",
        trace_id=current_trace_id(),
    )
    return await state.services.embedder.embed(
        origin, route, texts, dimensions=dimensions, seconds=state.settings.limits.turn_seconds, call_id=call_id
    )


def _encoded(vector: Vector, encoding: Encoding) -> Any:
    if encoding == "float":
        return vector
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _answer(content: Mapping[str, Any], made: Embedded, call_id: str) -> Response:
    usage = {"prompt_tokens": made.usage.prompt, "total_tokens": made.usage.total}
    headers = {"x-consilium-call-id": call_id, "x-consilium-provider": made.by.provider}
    body = orjson.dumps({**content, "model": made.by.model, "usage": usage}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, headers=headers, media_type="application/json")
