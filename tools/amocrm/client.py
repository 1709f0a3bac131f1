"""amoCRM's REST API v4 over HTTP: token, pace, repeats, pages, errors. It knows no entity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import httpx

from domain.errors import ToolProtocolError, ToolTimedOut, ToolUnavailable
from domain.text import clean_json
from tools.amocrm.failures import failure
from tools.amocrm.pace import Pace
from tools.amocrm.tokens import Tokens

PAGE = 250
"""Entities of a page at most, by the API."""
ATTEMPTS = 4
TIMEOUT = httpx.Timeout(20.0, connect=5.0)

Method = Literal["GET", "POST", "PATCH"]
Params = Mapping[str, str | int]
Json = dict[str, Any]


class Sleep(Protocol):
    async def __call__(self, seconds: float, /) -> None: ...


class AmoClient:
    """Requests of one account.

    Every method raises ToolRejected (token, rights, plan), InvalidToolArguments (with the fields amoCRM names), NotFound,
    ToolRateLimited, ToolTimedOut, ToolUnavailable or ToolProtocolError. A request that amoCRM has not carried out (429, a
    token that has run out) is repeated; one that may have been carried out is repeated only if it reads.
    """

    def __init__(
        self, base_url: str, http: httpx.AsyncClient, tokens: Tokens, pace: Pace, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._api = f"{base_url}/api/v4/"
        self._http = http
        self._tokens = tokens
        self._pace = pace
        self._sleep = sleep

    async def get(self, path: str, params: Params | None = None) -> Json | None:
        """The object at `path` under /api/v4/; None where amoCRM says that there is none (204)."""
        return await self._request("GET", path, params=params)

    async def post(self, path: str, body: Sequence[Json]) -> Json:
        """Add entities. Returns amoCRM's answer, {} where it has none."""
        return await self._request("POST", path, body=body) or {}

    async def patch(self, path: str, body: Json) -> Json:
        """Change the entity at `path`. Returns amoCRM's answer, {} where it has none."""
        return await self._request("PATCH", path, body=body) or {}

    async def pages(
        self, path: str, key: str, params: Params | None = None, *, size: int = PAGE
    ) -> AsyncIterator[list[Json]]:
        """The pages of a list, each as its entities under `_embedded.{key}`, `size` to a page, until there is no next.

        Only whether there is a next page is taken from `_links`: the token is sent to no address that an answer names.
        """
        page = 1
        while True:
            answer = await self.get(path, {**(params or {}), "page": page, "limit": min(size, PAGE)})
            if answer is None:
                return
            yield embedded(answer, key)
            links = answer.get("_links")
            if not isinstance(links, dict) or not links.get("next"):
                return
            page += 1

    async def _request(
        self, method: Method, path: str, *, params: Params | None = None, body: Any = None
    ) -> Json | None:
        token = await self._tokens.current()
        renewed = False
        for attempt in range(1, ATTEMPTS + 1):
            await self._pace.wait()
            response = await self._send(method, path, params, body, token, may_repeat=attempt < ATTEMPTS)
            if response is None:
                await self._sleep(0.5 * 2**attempt)
            elif response.status_code == 204:
                return None
            elif response.status_code in (200, 201, 202):
                return _object(response)
            elif response.status_code == 401 and not renewed and (other := await self._tokens.replace(token)):
                token, renewed = other, True
            elif response.status_code == 429 and attempt < ATTEMPTS:
                self._pace.hold(_pause(response, attempt))
            else:
                raise failure(response)
        raise ToolUnavailable("amoCRM did not answer, although it was asked several times; try again later.")

    async def _send(
        self, method: Method, path: str, params: Params | None, body: Any, token: str, *, may_repeat: bool
    ) -> httpx.Response | None:
        """The answer; None where it may be asked for again."""
        repeatable = may_repeat and method == "GET"
        try:
            response = await self._http.request(
                method, self._api + path, params=params, json=body, headers={"Authorization": f"Bearer {token}"}
            )
        except httpx.TimeoutException:
            if repeatable:
                return None
            unsure = "" if method == "GET" else " Whether it was carried out is not known: look before you repeat it."
            raise ToolTimedOut(f"amoCRM did not answer in time.{unsure}", seconds=TIMEOUT.read) from None
        except httpx.HTTPError as failed:
            if repeatable:
                return None
            raise ToolUnavailable(f"amoCRM can't be reached ({type(failed).__name__}).") from None
        return None if repeatable and response.status_code in (500, 502, 503, 504) else response


def embedded(answer: Json, key: str) -> list[Json]:
    """The entities of an answer. Raises ToolProtocolError where it has no such list."""
    inside = answer.get("_embedded")
    found = inside.get(key) if isinstance(inside, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ToolProtocolError(f"amoCRM answered without a list of {key}; check AMOCRM_BASE_URL.")
    return found


def _object(response: httpx.Response) -> Json:
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ToolProtocolError("amoCRM did not answer in JSON; check AMOCRM_BASE_URL.")
    cleaned: Json = clean_json(value)
    return cleaned


def _pause(response: httpx.Response, attempt: int) -> float:
    """Seconds to wait after a 429: what it asks for, else a little longer each time."""
    asked = response.headers.get("retry-after", "")
    return min(float(asked), 10.0) if asked.isascii() and asked.isdigit() else float(attempt)
