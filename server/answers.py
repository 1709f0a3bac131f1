"""The answer to a request that waits for a run or a model's call: while its client is there, or as the failure it ended in."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import TypeVar

from fastapi import Request, Response

from domain.errors import ConsiliumError, QuotaExceeded
from domain.trace import current_trace_id
from server.connected import Connected
from server.errors import FAULT, error_response
from server.one_shot import RunFailed

T = TypeVar("T")


async def unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """The work's result; None, and the work cancelled, where the client went away first."""
    async with Connected(request.receive):
        return await work
    return None


def failed_answer(failed: RunFailed) -> Response:
    """A run's error with the status it would have had here."""
    details = failed.data.get("details") or {}
    headers = {}
    if failed.code == QuotaExceeded.code and "resets_at" in details:
        left = datetime.fromisoformat(details["resets_at"]) - datetime.now(UTC)
        headers["Retry-After"] = str(max(1, int(left.total_seconds()) + 1))
    message = FAULT if failed.code == ConsiliumError.code else str(failed.data.get("message"))
    return error_response(failed.status, failed.code, message, current_trace_id(), details, headers)
