"""The access token: a long-lived one, or one of OAuth's that is exchanged when it runs out.

A refresh token of amoCRM's works once. So the new pair is on disk before it is used, the place for it is made sure of before
the old one is spent, and processes that share the file exchange one after the other.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import httpx
from pydantic import BaseModel, Field, ValidationError

from domain.errors import ConfigurationError, ToolProtocolError, ToolRejected, ToolUnavailable
from tools.amocrm.config import OAuth

EARLY_SECONDS = 60
"""A token is exchanged so long before it ends."""


class Tokens(Protocol):
    """Where requests get their token from."""

    async def current(self) -> str:
        """A token that should work."""
        ...

    async def replace(self, refused: str) -> str | None:
        """Another one than `refused`, which amoCRM didn't take; None where there is none to be had."""
        ...


class LongLived:
    """A token made by hand in the integration's settings; it works for up to five years, then a new one is due."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def current(self) -> str:
        return self._token

    async def replace(self, refused: str) -> str | None:
        return None


class _Pair(BaseModel):
    """What is kept: both tokens, and when the access token ends (Unix time in seconds, by this machine's clock)."""

    access_token: str = Field(min_length=1)
    refresh_token: str = Field(min_length=1)
    expires_at: float


class _Granted(BaseModel):
    access_token: str = Field(min_length=1)
    refresh_token: str = Field(min_length=1)
    expires_in: int = Field(gt=0)


class Refreshed:
    """OAuth's pair in its file. Raises ToolRejected where amoCRM doesn't take the refresh token (used, or three months old)."""

    def __init__(self, oauth: OAuth, base_url: str, http: httpx.AsyncClient) -> None:
        self._oauth = oauth
        self._url = f"{base_url}/oauth2/access_token"
        self._http = http
        self._turn = asyncio.Lock()
        self._pair: _Pair | None = None

    async def current(self) -> str:
        async with self._turn:
            if self._pair is None or not _lasts(self._pair):
                self._pair = await self._exchange(None)
            return self._pair.access_token

    async def replace(self, refused: str) -> str | None:
        async with self._turn:
            if self._pair is None or self._pair.access_token == refused:
                self._pair = await self._exchange(refused)
            return self._pair.access_token

    async def _exchange(self, refused: str | None) -> _Pair:
        """The pair in the file where another process has exchanged it meanwhile, else a new one."""
        file = self._oauth.token_file
        with _beside(file) as (lock, fresh):
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            known = _read(file)
            if known is not None and known.access_token != refused and _lasts(known):
                return known
            spent = known.refresh_token if known is not None else self._oauth.refresh_token
            pair = await self._ask(spent or "")
            _write(fresh, file, pair)
            return pair

    async def _ask(self, refresh_token: str) -> _Pair:
        body = {
            "client_id": self._oauth.client_id,
            "client_secret": self._oauth.client_secret,
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "redirect_uri": self._oauth.redirect_uri,
        }
        try:
            response = await self._http.post(self._url, json=body)
        except httpx.HTTPError as failed:
            raise ToolUnavailable(f"amoCRM can't be reached for a new token ({type(failed).__name__}).") from None
        if response.status_code >= 500 or response.status_code == 429:
            raise ToolUnavailable(
                f"amoCRM gives no new token at the moment (HTTP {response.status_code}).",
                http_status=response.status_code,
            )
        if response.status_code != 200:
            raise ToolRejected(
                "amoCRM does not take the refresh token (it works once, and for three months); the operator must "
                "authorize the integration again and set AMOCRM_REFRESH_TOKEN.",
                http_status=response.status_code,
            )
        try:
            granted = _Granted.model_validate_json(response.content)
        except ValidationError:
            raise ToolProtocolError("amoCRM answered to the refresh token without a pair of tokens.") from None
        return _Pair(
            access_token=granted.access_token,
            refresh_token=granted.refresh_token,
            expires_at=time.time() + granted.expires_in,
        )


def _lasts(pair: _Pair) -> bool:
    return pair.expires_at - time.time() > EARLY_SECONDS


@contextmanager
def _beside(file: Path) -> Iterator[tuple[int, int]]:
    """Descriptors of the lock and of an empty new file, both beside `file`. Raises ConfigurationError where none can be."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as failed:
        raise _unwritable(file, failed) from failed
    try:
        fresh_name = f"{file}.{os.getpid()}.new"
        try:
            fresh = os.open(fresh_name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as failed:
            raise _unwritable(file, failed) from failed
        try:
            yield lock, fresh
        finally:
            os.close(fresh)
            Path(fresh_name).unlink(missing_ok=True)
    finally:
        os.close(lock)  # which also unlocks


def _unwritable(file: Path, failed: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"AMOCRM_TOKEN_FILE: {file} can't be written ({failed.strerror}). Fix: name a file in a folder that this user owns"
    )


def _read(file: Path) -> _Pair | None:
    try:
        return _Pair.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _write(fresh: int, file: Path, pair: _Pair) -> None:
    os.write(fresh, json.dumps(pair.model_dump()).encode())
    os.fsync(fresh)
    os.replace(f"{file}.{os.getpid()}.new", file)
