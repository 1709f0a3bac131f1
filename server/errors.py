"""The one translation of errors: to HTTP here, to gRPC status names by `GRPC_STATUS`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from psycopg import OperationalError
from psycopg.errors import CharacterNotInRepertoire, DataError, UntranslatableCharacter
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from domain.errors import ConsiliumError, QuotaExceeded
from domain.text import clean_json
from domain.trace import current_trace_id

log = structlog.get_logger(__name__)

GRPC_STATUS: dict[int, str] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "OUT_OF_RANGE",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
}
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported"}


def error_response(
    status: int, code: str, message: str, details: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """`{error_code, message, trace_id, details}`, the shape of every error."""
    body = {"error_code": code, "message": message, "trace_id": current_trace_id(), "details": details or {}}
    return Response(
        orjson.dumps(clean_json(body), default=str),
        status_code=status,
        media_type="application/json",
        headers={"X-Trace-Id": current_trace_id(), **(headers or {})},
    )


def install(app: FastAPI) -> None:
    """Register every handler."""
    app.add_exception_handler(ConsiliumError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for lost in (OperationalError, PoolTimeout):
        app.add_exception_handler(lost, _database)
    for text in (CharacterNotInRepertoire, UntranslatableCharacter, DataError, UnicodeError):
        app.add_exception_handler(text, _text)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ConsiliumError)
    headers: dict[str, str] = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, QuotaExceeded):
        headers["Retry-After"] = str(max(1, int((error.resets_at - datetime.now(UTC)).total_seconds())))
    elif error.details.get("retry_after"):
        headers["Retry-After"] = str(int(error.details["retry_after"]))
    if error.status >= 500:
        log.error("request failed", error_code=error.code, error=error.message, exc_info=error)
    return error_response(error.status, error.code, error.message, error.details, headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [{"field": _path(e["loc"]), "problem": e["msg"]} for e in error.errors()[:20]]
    message = "; ".join(f"{field['field']}: {field['problem']}" for field in fields)
    code = "invalid_json" if any(e["type"] == "json_invalid" for e in error.errors()) else "invalid_input"
    return error_response(422, code, message, {"fields": fields})


def _path(loc: tuple[Any, ...]) -> str:
    """body.input.messages as the caller wrote it: without FastAPI's `body`."""
    parts = [str(part) for part in (loc[1:] if loc and loc[0] == "body" and len(loc) > 1 else loc)]
    return ".".join(parts)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "invalid_input" if error.status_code < 500 else "internal_error")
    message = str(error.detail)
    if error.status_code == 404:
        message = f"There is no route {request.method} {request.url.path[:200]}; see /docs."
    elif error.status_code == 400:
        return error_response(422, "invalid_input", message)
    return error_response(error.status_code, code, message, headers=dict(error.headers or {}))


async def _database(request: Request, error: Exception) -> Response:
    log.error("database unavailable", error=type(error).__name__)
    return error_response(503, "database_unavailable", "The database can't be reached; try again.", headers={"Retry-After": "2"})


async def _text(request: Request, error: Exception) -> Response:
    log.warning("unusable value", error=type(error).__name__)
    return error_response(422, "invalid_input", "A value of the request can't be used: it has characters or a size no field takes.")


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected error", exc_info=error)
    return error_response(500, "internal_error", "An internal error; its trace_id finds it in the log.")
