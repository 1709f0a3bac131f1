"""The public API as the console uses it: JSON over HTTP with one user's token, and streams of runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError, APIStatusError
from langgraph_sdk.schema import Command, StreamMode, StreamPart

STREAM_MODES: Final[list[StreamMode]] = ["messages-tuple", "updates", "custom"]
ASSISTANT: Final = "supervisor"
TIMEOUT: Final = httpx.Timeout(30, read=120)
"""Longer than a stream's silence: the server sends a heartbeat every 15 seconds."""
THREAD_FIELDS: Final = ("thread_id", "created_at", "updated_at", "metadata", "status")


def open_http(url: str) -> httpx.AsyncClient:
    """The connections to the server at `url`, for all users. A reader of a stream holds one of them."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=20)
    return httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits, trust_env=False)


class ApiError(Exception):
    """What the API refused, or that it didn't answer (`code` is `unreachable`, `status` None).

    `details` and `trace_id` are the API's own; the trace id leads to the server's log.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        trace_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.trace_id = trace_id
        self.details = dict(details or {})

    @classmethod
    def of(cls, response: httpx.Response) -> ApiError:
        """The error an answer with a status of 400 or more holds."""
        try:
            body = response.json()
        except ValueError:
            body = None
        return cls.told(response.status_code, body, response.reason_phrase)

    @classmethod
    def told(cls, status: int, body: Any, otherwise: str) -> ApiError:
        """The error a body tells of; `otherwise` is its message where the body isn't one of ours."""
        told = body if isinstance(body, Mapping) else {}
        return cls(
            str(told.get("error_code") or told.get("error") or f"http_{status}"),
            str(told.get("message") or otherwise),
            status=status,
            trace_id=told.get("trace_id"),
            details=told.get("details"),
        )


class Api:
    """One user's calls. `http` has the server's address and is shared by all; the token goes into each call."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self._http = http
        self._sdk = LangGraphClient(http)
        self._headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, **request: Any) -> Any:
        """The JSON a call answers with; None where it has no body. Raises ApiError."""
        response = await self.raw(method, path, **request)
        return response.json() if response.content else None

    async def raw(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer itself, for what is no JSON. Raises ApiError."""
        try:
            response = await self._http.request(method, path, headers=self._headers, **request)
        except httpx.TransportError as failed:
            raise ApiError("unreachable", str(failed) or type(failed).__name__) from failed
        if response.status_code >= 400:
            raise ApiError.of(response)
        return response

    async def threads(self, *, limit: int = 200) -> list[dict[str, Any]]:
        """The conversations the caller may see, the latest first, without their states."""
        body = {"limit": limit, "sort_by": "updated_at", "sort_order": "desc", "select": list(THREAD_FIELDS)}
        return list(await self.call("POST", "/threads/search", json=body))

    async def run(
        self,
        thread_id: str,
        *,
        text: str | None = None,
        checkpoint_id: str | None = None,
        resume: Any = None,
        context: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[StreamPart, None]:
        """Start a run and follow it: with a question, from a checkpoint again, or with the answer to an interrupt.

        A connection that breaks is taken up again where it was. Raises ApiError.
        """
        given: dict[str, Any] | None = None if text is None else {"messages": [{"role": "user", "content": text}]}
        wishes: dict[str, Any] | None = dict(context) if context else None
        stream = self._sdk.runs.stream(
            thread_id,
            ASSISTANT,
            input=given,
            command=None if resume is None else Command(resume=resume),
            checkpoint_id=checkpoint_id,
            context=wishes,
            stream_mode=STREAM_MODES,
            stream_subgraphs=True,
            on_disconnect="continue",
            headers=self._headers,
        )
        async with aclosing(_translated(stream)) as parts:
            async for part in parts:
                yield part

    async def join(self, thread_id: str, run_id: str) -> AsyncGenerator[StreamPart, None]:
        """Follow a run from its beginning, also one that is over. Raises ApiError."""
        stream = self._sdk.runs.join_stream(
            thread_id, run_id, stream_mode=STREAM_MODES, last_event_id="-1", headers=self._headers
        )
        async with aclosing(_translated(stream)) as parts:
            async for part in parts:
                yield part

    async def cancel(self, thread_id: str, run_id: str) -> None:
        """End a run, keeping what it did."""
        await self.call("POST", f"/threads/{thread_id}/runs/{run_id}/cancel")

    async def last_input(self, thread_id: str) -> str | None:
        """The checkpoint at which the newest question came in; None where there is none."""
        found = await self.history(thread_id, limit=1, metadata={"source": "input"})
        return found[0]["checkpoint_id"] if found else None

    async def history(self, thread_id: str, *, limit: int, metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The thread's states whose metadata contain `metadata`, newest first."""
        body = {"limit": limit, "metadata": dict(metadata)}
        return list(await self.call("POST", f"/threads/{thread_id}/history", json=body))

    async def upload(
        self, name: str, data: bytes, media_type: str, *, labels: Sequence[str], document_id: str | None = None
    ) -> dict[str, Any]:
        """Add a document, or the next version of one; its record, still `pending`."""
        form: dict[str, Any] = {"labels": ",".join(labels)} if labels else {}
        path, method = ("/v1/documents", "POST") if document_id is None else (f"/v1/documents/{document_id}", "PUT")
        return dict(await self.call(method, path, files={"file": (name, data, media_type)}, data=form))

    async def passage(self, source: Mapping[str, Any], *, context: int = 600) -> dict[str, Any]:
        """The text a citation points at, with `context` characters on either side."""
        path = f"/v1/documents/{source['document_id']}/versions/{source['version']}/passage"
        params = {"start": source["start"], "end": source["end"], "context": context}
        return dict(await self.call("GET", path, params=params))


async def _translated(stream: AsyncIterator[StreamPart]) -> AsyncGenerator[StreamPart, None]:
    """The parts of an SDK stream, its errors as ours."""
    try:
        async for part in stream:
            yield part
    except APIStatusError as refused:
        raise ApiError.told(refused.status_code, refused.body, refused.message) from refused
    except (APIError, httpx.HTTPStatusError) as failed:
        raise ApiError("unreachable", str(failed)) from failed
    except httpx.TransportError as failed:
        raise ApiError("unreachable", str(failed) or type(failed).__name__) from failed
