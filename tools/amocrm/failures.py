"""From amoCRM's refusals to our errors. Its bodies are `application/problem+json`, with the fields that are wrong."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from domain.errors import (
    ConsiliumError,
    InvalidToolArguments,
    NotFound,
    ToolError,
    ToolProtocolError,
    ToolRateLimited,
    ToolRejected,
    ToolUnavailable,
)
from domain.text import clean

MAX_DETAIL = 300
MAX_FIELDS = 10


class _FieldError(BaseModel):
    code: str = ""
    path: str = ""
    detail: str = ""


class _ItemErrors(BaseModel):
    errors: list[_FieldError] = []


class _Problem(BaseModel):
    title: str = ""
    detail: str = ""
    hint: str = ""
    validation_errors: list[_ItemErrors] = Field([], alias="validation-errors")


def failure(response: httpx.Response) -> ConsiliumError:
    """What an answer with another status than 200, 201, 202 and 204 means."""
    status = response.status_code
    problem = _problem(response)
    said = _said(problem)
    known: dict[str, Any] = {"http_status": status}
    if status in (400, 422):
        fields = [error for item in problem.validation_errors for error in item.errors][:MAX_FIELDS]
        known["fields"] = [
            {"path": _short(error.path), "code": _short(error.code), "problem": _short(error.detail)}
            for error in fields
        ]
        shown = "; ".join(f"{one['path']}: {one['problem'] or one['code']}" for one in known["fields"])
        return InvalidToolArguments(f"amoCRM refuses the request: {shown or said or 'bad request'}", **known)
    if status == 401:
        return ToolRejected("amoCRM does not take the token; the operator must correct AMOCRM_TOKEN or OAuth.", **known)
    if status == 402:
        return ToolRejected("The amoCRM account is not paid for.", **known)
    if status == 403:
        return ToolRejected(
            "amoCRM forbids this: the token's user has no right to it, this address is not allowed in the account, or the "
            f"account is blocked for too many requests. {said}".rstrip(),
            **known,
        )
    if status == 404:
        return NotFound("amoCRM entity", response.request.url.path.removeprefix("/api/v4/"))
    if status == 429:
        return ToolRateLimited(
            "amoCRM takes no more requests at the moment; try again later.", retry_after=None, **known
        )
    if status >= 500:
        return ToolUnavailable(f"amoCRM has a fault of its own (HTTP {status}); try again later.", **known)
    if 300 <= status < 400:
        return ToolProtocolError("amoCRM redirects elsewhere; check AMOCRM_BASE_URL.", **known)
    return ToolError(f"amoCRM answered with HTTP {status}. {said}".rstrip(), **known)


def _problem(response: httpx.Response) -> _Problem:
    try:
        return _Problem.model_validate_json(response.content)
    except ValidationError:  # an empty body, HTML of something in between
        return _Problem.model_validate({})


def _said(problem: _Problem) -> str:
    return _short(": ".join(part for part in (problem.title, problem.detail, problem.hint) if part))


def _short(text: str) -> str:
    return " ".join(clean(text).split())[:MAX_DETAIL]
