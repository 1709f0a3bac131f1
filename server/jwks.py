"""The identity provider's public keys: a JWKS from a URL or a file, kept in memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import structlog
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from domain.errors import ConfigurationError

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 3600.0
UNKNOWN_KEY_SECONDS = 60.0
"""An unknown kid has the set read again at most this often, so that made-up kids can't flood the identity provider."""
TIMEOUT_SECONDS = 5.0
MAX_BYTES = 1_000_000
MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the one algorithm it is for."""

    algorithm: Literal["RS256", "ES256"]
    public: Any


class KeySet:
    """The keys by kid. Exactly one of `url` and `file` is given; read at first use and then once an hour.

    Raises ConfigurationError at once where a file is no key set. A URL that fails later leaves the known keys in place.
    """

    def __init__(self, *, url: str | None, file: Path | None) -> None:
        self._url = url
        self._file = file
        self._client: httpx.AsyncClient | None = None
        self._keys: dict[str, VerificationKey] = {}
        self._read_at: float | None = None
        self._lock = asyncio.Lock()
        if file is not None:
            try:
                self._keys = parse_keys(file.read_bytes())
            except (OSError, ValueError) as wrong:
                raise ConfigurationError(
                    f"CONSILIUM_JWKS_FILE: {file} is no key set ({wrong}). Fix: correct it."
                ) from wrong
            self._read_at = time.monotonic()

    async def find(self, kid: str) -> VerificationKey | None:
        """The key of that id, or None where there is none, also after reading the set again."""
        found = self._keys.get(kid)
        if not self._is_due(REFRESH_SECONDS if found else UNKNOWN_KEY_SECONDS):
            return found
        async with self._lock:
            if self._is_due(REFRESH_SECONDS if kid in self._keys else UNKNOWN_KEY_SECONDS):
                await self._read()
        return self._keys.get(kid)

    def _is_due(self, seconds: float) -> bool:
        return self._read_at is None or time.monotonic() - self._read_at >= seconds

    async def _read(self) -> None:
        self._read_at = time.monotonic()
        try:
            data = await asyncio.to_thread(self._file.read_bytes) if self._file else await self._fetch()
            self._keys = parse_keys(data)
        except (OSError, ValueError, httpx.HTTPError) as failed:
            log.warning("key set can't be read", error=type(failed).__name__, problem=str(failed)[:300])

    async def _fetch(self) -> bytes:
        assert self._url is not None
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False)
        data = b""
        async with asyncio.timeout(TIMEOUT_SECONDS * 2), self._client.stream("GET", self._url) as response:
            response.raise_for_status()
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > MAX_BYTES:
                    raise ValueError(f"it has more than {MAX_BYTES} bytes")
        return data

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def parse_keys(data: bytes) -> dict[str, VerificationKey]:
    """The usable keys of a JWKS document by kid. A kid that comes twice is ambiguous and left out.

    Raises ValueError where the document is no JWKS.
    """
    content = json.loads(data)
    entries = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it has no list `keys`")
    kids = [entry.get("kid") for entry in entries if isinstance(entry, dict)]
    keys: dict[str, VerificationKey] = {}
    for entry in entries:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if isinstance(kid, str) and kids.count(kid) == 1 and (key := _key(entry)) is not None:
            keys[kid] = key
    return keys


def _key(entry: Mapping[str, Any]) -> VerificationKey | None:
    """A signing key of an algorithm we take, from its public members only; None for any other."""
    if entry.get("use", "sig") != "sig":
        return None
    try:
        if entry.get("kty") == "RSA" and entry.get("alg", "RS256") == "RS256":
            rsa = RSAAlgorithm.from_jwk({"kty": "RSA", "n": entry["n"], "e": entry["e"]})
            return VerificationKey("RS256", rsa) if rsa.key_size >= MIN_RSA_BITS else None
        if entry.get("kty") == "EC" and entry.get("crv") == "P-256" and entry.get("alg", "ES256") == "ES256":
            curve = ECAlgorithm.from_jwk({"kty": "EC", "crv": "P-256", "x": entry["x"], "y": entry["y"]})
            return VerificationKey("ES256", curve)
    except (KeyError, TypeError, ValueError, InvalidKeyError):
        log.warning("a key of the key set is unusable", kid=str(entry.get("kid"))[:100])
    return None
