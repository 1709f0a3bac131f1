"""The one translation of errors to the wire: `{error_code, message, trace_id, details}` with a status.

What is ours to explain is explained; a fault of ours only tells its trace_id, its traceback goes to the log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
import psycopg
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from domain import errors
from domain.errors import ConsiliumError, InvalidInput, InvalidJson, QuotaExceeded, Unauthenticated
from domain.ids import TraceId, new_trace_id
from domain.text import clean_json

log = structlog.get_logger(__name__)

TRACE_KEY = "consilium.trace_id"
"""Where the trace id lies in an ASGI scope."""
IDENTITY_KEY = "consilium.identity"
"""Where the identity lies that the door has verified, of requests with a body."""
FAULT = "The server failed. Its log tells why, under this trace_id."
_DATABASE_RETRY_SECONDS = 2
_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    413: "too_large",
    415: "unsupported",
    422: "invalid_input",
    429: "rate_limited",
}
GRPC_STATUS: Mapping[type[ConsiliumError], str] = {
    errors.ConsiliumError: "INTERNAL",
    errors.ConfigurationError: "FAILED_PRECONDITION",
    errors.Unauthenticated: "UNAUTHENTICATED",
    errors.Forbidden: "PERMISSION_DENIED",
    errors.NotFound: "NOT_FOUND",
    errors.Conflict: "FAILED_PRECONDITION",
    errors.TooLarge: "OUT_OF_RANGE",
    errors.Unsupported: "UNIMPLEMENTED",
    errors.InvalidInput: "INVALID_ARGUMENT",
    errors.QuotaExceeded: "RESOURCE_EXHAUSTED",
    errors.RateLimited: "RESOURCE_EXHAUSTED",
    errors.ApprovalRequired: "FAILED_PRECONDITION",
    errors.RunCancelled: "CANCELLED",
    errors.StaleFence: "ABORTED",
    errors.ToolError: "INTERNAL",
    errors.ProviderError: "UNAVAILABLE",
    errors.ProviderRejected: "FAILED_PRECONDITION",
    errors.NoProvider: "FAILED_PRECONDITION",
    errors.InvalidStructuredOutput: "UNAVAILABLE",
    errors.TimedOut: "DEADLINE_EXCEEDED",
    errors.DocumentUnreadable: "INVALID_ARGUMENT",
}


def grpc_status(error: BaseException) -> str:
    """The name of the gRPC status code of an error; a subclass has that of its nearest base."""
    return next((GRPC_STATUS[kind] for kind in type(error).__mro__ if kind in GRPC_STATUS), "INTERNAL")


def trace_id_of(connection: HTTPConnection) -> TraceId:
    """The trace id of a request; a fresh one where no middleware has set it."""
    return TraceId(connection.scope.get(TRACE_KEY) or new_trace_id())


def error_response(
    status: int, code: str, message: str, trace_id: str, details: Any = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The body every error has."""
    content = {"error_code": code, "message": message, "trace_id": trace_id, "details": details or {}}
    return Response(
        orjson.dumps(clean_json(content), default=str, option=orjson.OPT_NON_STR_KEYS),
        status_code=status,
        media_type="application/json",
        headers=dict(headers or {}),
    )


def render(error: ConsiliumError, trace_id: str) -> Response:
    """One of our errors. Those of status 500 are faults: logged with their traceback, and told as no more than that."""
    if error.status == 500:
        log.error("request failed", error_code=error.code, exc_info=error)
        return error_response(error.status, error.code, FAULT, trace_id)
    return error_response(error.status, error.code, error.message, trace_id, error.details, _headers(error))


def _headers(error: ConsiliumError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    seconds: float | None = error.details.get("retry_after")
    if isinstance(error, QuotaExceeded):
        seconds = (error.resets_at - datetime.now(UTC)).total_seconds()
    if seconds is None or error.status not in (429, 503):
        return {}
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def render_any(error: Exception, trace_id: str) -> Response:
    """Any other exception: the database's as 503 where trying again may help, the rest as a fault."""
    if isinstance(error, ConsiliumError):
        return render(error, trace_id)
    if _is_unstorable(error):
        return render(
            InvalidInput("text", "has a character that can't be stored (NUL or half a surrogate pair)"), trace_id
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | ConnectionRefusedError):
        log.error("database unavailable", error=type(error).__name__, problem=str(error)[:500])
        message = "The database doesn't answer. Try again in a moment."
        retry = {"Retry-After": str(_DATABASE_RETRY_SECONDS)}
        return error_response(503, "database_unavailable", message, trace_id, headers=retry)
    log.error("request failed", error_code="internal_error", exc_info=error)
    return error_response(500, "internal_error", FAULT, trace_id)


def _is_unstorable(error: Exception) -> bool:
    """A text that slipped through a door we don't watch, such as a form field."""
    if isinstance(error, UnicodeEncodeError):
        return "surrogates not allowed" in error.reason
    return isinstance(error, psycopg.DataError) and "NUL" in str(error)


def validation_details(found: Sequence[Any]) -> list[dict[str, Any]]:
    """Pydantic's errors as `{field, problem}`; `field` is a dotted path that begins with body, query or path."""
    return [
        {
            "field": ".".join(str(part) for part in error["loc"]),
            "problem": str(error["msg"]).removeprefix("Value error, "),
            "type": str(error["type"]),
        }
        for error in found
    ]


def install(app: FastAPI) -> None:
    """Make `app` answer every error it knows of in our form. Those it doesn't know are FailureMiddleware's."""

    async def ours(request: Any, error: Any) -> Response:
        return render(error, trace_id_of(request))

    async def invalid(request: Any, error: Any) -> Response:
        found = error.errors()
        if any(one["type"] == "json_invalid" for one in found):
            wrong = InvalidJson(str(found[0]["ctx"]["error"]), position=found[0]["loc"][-1])
            return render(wrong, trace_id_of(request))
        problems = validation_details(found)
        shown = "; ".join(f"{one['field']}: {one['problem']}" for one in problems[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        details = {"field": problems[0]["field"], "problems": problems[:50]} if problems else {}
        return error_response(422, InvalidInput.code, shown + more, trace_id_of(request), details)

    async def http(request: Any, error: Any) -> Response:
        return _http(request, error)

    async def database(request: Any, error: Any) -> Response:
        return render_any(error, trace_id_of(request))

    app.add_exception_handler(ConsiliumError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(psycopg.Error, database)


def _http(request: Any, error: HTTPException) -> Response:
    trace_id = trace_id_of(request)
    status = error.status_code
    if status == 400 and error.detail == "There was an error parsing the body":
        return render(InvalidJson("it can't be read"), trace_id)
    details: dict[str, Any] = {}
    message = str(error.detail)
    if message == _phrase(status):
        if status == 404:
            message = f"There is no {request.method} {request.url.path[:200]} here."
        elif status == 405:
            message = f"{request.url.path[:200]} has no method {request.method}."
            details["allowed"] = sorted((error.headers or {}).get("Allow", "").replace(" ", "").split(","))
    code = _CODES.get(status, "internal_error" if status >= 500 else "http_error")
    if isinstance(error, BodyTooLarge):
        details = {"limit": error.limit, "unit": "bytes"}
    return error_response(status, code, message, trace_id, details, error.headers)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


class BodyTooLarge(HTTPException):
    """More bytes than the door lets in. An HTTPException: FastAPI makes 400 of others while it reads."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The body has more than {limit} bytes.")
        self.limit = limit
