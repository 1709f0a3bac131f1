"""Embeddings of texts, over OpenAI's wire and Ollama's: in batches, checked, with the provider's own count of tokens."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from domain.catalogue import Family, ModelSpec, Timeouts
from domain.errors import ProviderError, ProviderProtocolError
from domain.usage import Usage, estimate_tokens
from providers.failures import of_status, refuses, translate
from providers.meter import Meter
from providers.wire.http import Http
from providers.wire.openai_http import error_text

Vector = NDArray[np.float32]
BATCH_TEXTS = 96
BATCH_TOKENS = 60_000
"""By our own count, upper-leaning. A longer text goes alone."""
MAX_DIMENSIONS = 65_536
_BYTES_A_NUMBER = 32
"""Of JSON, generously: an answer longer than that for its numbers is not read to its end."""


@dataclass(frozen=True, slots=True)
class EmbeddingEndpoint:
    """Where embeddings are had. `family` is that of the wire; `key_variable` names the environment variable of the key."""

    http: Http
    family: Family
    provider: str
    base_url: str = field(repr=False)
    api_key: str | None = field(repr=False)
    key_variable: str | None
    timeouts: Timeouts

    async def embed(self, model: ModelSpec, texts: Sequence[str], dimensions: int | None, meter: Meter) -> list[Vector]:
        """One vector a text, in their order: of `dimensions`, or of the model's own number where that is None.

        Raises ProviderUnavailable, ProviderRateLimited, ProviderRejected, ProviderProtocolError. `meter` has the tokens of the
        batches that were answered, and our estimate of one that was not, whether or not all are.
        """
        vectors: list[Vector] = []
        spent = Usage(0, 0, "provider")
        for batch in batches(texts):
            own = Meter(_estimate(batch))
            try:
                async with asyncio.timeout(self.timeouts.total):
                    told = await self._ask(self._body(model.name, batch, dimensions), batch, own)
            except ProviderError:
                raise
            except Exception as failure:
                ours = translate(failure, self.provider, model.name)
                if ours is None:
                    raise
                raise ours from failure
            else:
                if (counted := _tokens(told)) is not None:
                    own.reported(Usage(counted, 0, "provider"))
            finally:
                if own.begun:
                    spent += own.usage()
                    meter.reported(spent)
            vectors += self._vectors(told, len(batch))
        self._check(vectors, model.name, dimensions or model.capabilities.dimensions)
        return vectors

    def _body(self, model: str, texts: Sequence[str], dimensions: int | None) -> dict[str, Any]:
        body: dict[str, Any] = {"model": model, "input": list(texts)}
        if dimensions is not None:
            body["dimensions"] = dimensions
        # an embedding of a part must not pass for one of the whole
        return {**body, "truncate": False} if self.family == "ollama" else {**body, "encoding_format": "float"}

    async def _ask(self, body: Mapping[str, Any], texts: Sequence[str], meter: Meter) -> dict[str, Any]:
        """The answer to a batch, which `meter` is of."""
        import aiohttp

        path = "/api/embed" if self.family == "ollama" else "/embeddings"
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        limits = self.timeouts
        timeout = aiohttp.ClientTimeout(sock_connect=limits.connect, sock_read=limits.first_token)
        url = self.base_url.rstrip("/") + path
        async with self.http.post(url, meter, orjson.dumps(body), headers=headers, timeout=timeout) as response:
            if refuses(response.status):
                meter.refused()
            if response.status >= 400:
                raise of_status(
                    response.status,
                    response.headers,
                    await error_text(response.content.iter_any()),
                    self.provider,
                    str(body["model"]),
                    key_variable=self.key_variable,
                )
            read = bytearray()
            most = len(texts) * MAX_DIMENSIONS * _BYTES_A_NUMBER
            async for piece in response.content.iter_any():
                read += piece
                if len(read) > most:
                    raise self._wrong("sent more than embeddings can be", "too_large")
        try:
            told = orjson.loads(read)
        except orjson.JSONDecodeError:
            raise self._wrong("sent something that is not JSON", "bad_json") from None
        if not isinstance(told, dict):
            raise self._wrong("sent something that is not a JSON object", "malformed")
        return told

    def _vectors(self, told: Mapping[str, Any], count: int) -> list[Vector]:
        rows = told.get("embeddings" if self.family == "ollama" else "data")
        if not isinstance(rows, list) or len(rows) != count:
            raise self._wrong(f"was to embed {count} texts and sent another number", "count")
        if self.family == "ollama":
            return [self._vector(row) for row in rows]
        ordered: dict[int, Vector] = {}
        for place, row in enumerate(rows):
            if not isinstance(row, dict):
                raise self._wrong("sent something malformed", "malformed")
            index = row.get("index", place)
            ordered[index if isinstance(index, int) else -1] = self._vector(row.get("embedding"))
        if set(ordered) != set(range(count)):
            raise self._wrong("numbered its embeddings wrongly", "malformed")
        return [ordered[n] for n in range(count)]

    def _vector(self, value: Any) -> Vector:
        try:
            if isinstance(value, str):
                vector = np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
            else:
                vector = np.asarray(value, dtype="<f4")
        except (ValueError, TypeError, OverflowError, binascii.Error):
            raise self._wrong("sent an embedding that is no list of numbers", "malformed") from None
        if vector.ndim != 1 or not 0 < vector.size <= MAX_DIMENSIONS or not np.isfinite(vector).all():
            raise self._wrong("sent an embedding that is no list of finite numbers", "malformed")
        return vector

    def _check(self, vectors: Sequence[Vector], model: str, expected: int | None) -> None:
        sizes = sorted({vector.size for vector in vectors})
        if len(sizes) > 1:
            raise self._wrong(f"sent embeddings of different lengths ({sizes[0]} to {sizes[-1]})", "dimensions")
        if expected is not None and sizes not in ([], [expected]):
            raise self._wrong(f"sent embeddings of {sizes[0]} dimensions by '{model}', not of {expected}", "dimensions")

    def _wrong(self, problem: str, reason: str) -> ProviderProtocolError:
        return ProviderProtocolError(self.provider, problem, reason=reason)


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in their order, at most BATCH_TEXTS and BATCH_TOKENS at a time."""
    batch: list[str] = []
    tokens = 0
    for text in texts:
        more = estimate_tokens(text)
        if batch and (len(batch) >= BATCH_TEXTS or tokens + more > BATCH_TOKENS):
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += more
    if batch:
        yield batch


def _estimate(texts: Sequence[str]) -> int:
    return sum(estimate_tokens(text) for text in texts)


def _tokens(told: Mapping[str, Any]) -> int | None:
    """What the provider counted; None where it told nothing usable."""
    usage = told.get("usage")
    counted = told.get("prompt_eval_count")
    if isinstance(usage, dict):
        counted = usage.get("prompt_tokens") or usage.get("total_tokens")
    return counted if type(counted) is int and counted > 0 else None


# Similarity


def cosine_matrix(left: Sequence[Vector], right: Sequence[Vector]) -> NDArray[np.float64]:
    """Cosines between every vector of `left` and of `right`, -1 to 1; 0 where one of them is zero."""
    cosines: NDArray[np.float64] = np.clip(_unit(left) @ _unit(right).T, -1.0, 1.0)
    return cosines


def cosine_pairs(left: Sequence[Vector], right: Sequence[Vector]) -> NDArray[np.float64]:
    """Cosines between the vectors at the same places."""
    cosines: NDArray[np.float64] = np.clip(np.einsum("ij,ij->i", _unit(left), _unit(right)), -1.0, 1.0)
    return cosines


def _unit(vectors: Sequence[Vector]) -> NDArray[np.float64]:
    stacked = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(stacked, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(stacked, lengths, out=np.zeros_like(stacked), where=lengths > 0)
    return unit
