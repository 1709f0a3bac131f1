"""Requests for embeddings and similarities at the door: checked, with what can't be served refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from domain.errors import InvalidInput
from server.completion_request import MAX_MODEL_CHARS, json_object
from server.gateway import AUTO

MAX_TEXTS = 2048
MAX_SIDE = 512
"""Texts on each side of a matrix."""
MAX_DIMENSIONS = 16_384
Encoding = Literal["float", "base64"]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """OpenAI's. `dimensions` None is the model's own number."""

    model: str
    texts: list[str]
    dimensions: int | None
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class SimilarityRequest:
    """Either pairs, text by text of `left` and `right`, or the matrix of all of `left` with all of `right`."""

    model: str
    left: list[str]
    right: list[str]
    matrix: bool
    dimensions: int | None


def read_embedding(body: bytes, content_type: str) -> EmbeddingRequest:
    """The request in a body. Raises InvalidInput naming the parameter, InvalidJson, Unsupported."""
    sent = json_object(body, content_type)
    if sent.get("model") is None:
        raise InvalidInput("model", f"is required: a model that makes embeddings (GET /v1/models), or `{AUTO}`")
    given = sent.get("input")
    encoding = sent.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise InvalidInput("encoding_format", "must be float or base64")
    texts = _texts([given] if isinstance(given, str) else given, "input", MAX_TEXTS)
    return EmbeddingRequest(_model(sent), texts, _dimensions(sent), encoding or "float")


def read_similarity(body: bytes, content_type: str) -> SimilarityRequest:
    """The request in a body: exactly one of `pairs`; `texts`; `left` and `right`. Raises as `read_embedding`."""
    sent = json_object(body, content_type)
    forms = [form for form in (("pairs",), ("texts",), ("left", "right")) if any(name in sent for name in form)]
    if len(forms) != 1:
        raise InvalidInput("body", "must have exactly one of `pairs`; `texts`; `left` and `right`")
    model, dimensions = _model(sent), _dimensions(sent)
    if forms[0] == ("pairs",):
        left, right = _pairs(sent["pairs"])
        return SimilarityRequest(model, left, right, False, dimensions)
    left = _texts(sent.get(forms[0][0]), forms[0][0], MAX_SIDE)
    right = left if forms[0] == ("texts",) else _texts(sent.get("right"), "right", MAX_SIDE)
    return SimilarityRequest(model, left, right, True, dimensions)


def _pairs(given: Any) -> tuple[list[str], list[str]]:
    most = MAX_TEXTS // 2
    if not isinstance(given, list) or not 0 < len(given) <= most:
        raise InvalidInput("pairs", f"must be a list of 1 to {most} pairs of texts")
    for n, pair in enumerate(given):
        if not isinstance(pair, list) or len(pair) != 2:
            raise InvalidInput(f"pairs[{n}]", "must be a list of two texts")
        _texts(pair, f"pairs[{n}]", 2)
    return [pair[0] for pair in given], [pair[1] for pair in given]


def _texts(given: Any, field: str, most: int) -> list[str]:
    if isinstance(given, list) and given and all(isinstance(one, int | list) for one in given):
        problem = (
            "must be text: tokens mean something to one model only (with LangChain: check_embedding_ctx_length=False)"
        )
        raise InvalidInput(field, problem)
    if not isinstance(given, list) or not 0 < len(given) <= most:
        raise InvalidInput(field, f"must be a list of 1 to {most} texts", limit=most)
    for n, text in enumerate(given):
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput(f"{field}[{n}]", "must be a text that is not empty")
    return given


def _model(sent: dict[str, Any]) -> str:
    model = sent.get("model", AUTO)
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_CHARS:
        raise InvalidInput("model", f"must be a name of at most {MAX_MODEL_CHARS} characters")
    return model


def _dimensions(sent: dict[str, Any]) -> int | None:
    given = sent.get("dimensions")
    if given is not None and (type(given) is not int or not 0 < given <= MAX_DIMENSIONS):
        raise InvalidInput("dimensions", f"must be a whole number from 1 to {MAX_DIMENSIONS}")
    return given
