"""Embeddings that were made before, by the hash of their text. Each organisation has its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from domain.ids import OrganizationId
from storage.database import Database
from storage.queries import load

Q = load("embedding_cache")
Vector = NDArray[np.float32]
SWEPT_ORGANIZATIONS = 100
SWEPT_ROWS = 5_000


class EmbeddingCache:
    """Keeps vectors for `seconds`; 0 keeps none. `dimensions` None is the model's own number, here and in every method."""

    def __init__(self, db: Database, seconds: float) -> None:
        self._db = db
        self._seconds = seconds

    async def find(
        self,
        organization_id: OrganizationId,
        provider: str,
        model: str,
        dimensions: int | None,
        texts: Sequence[str],
    ) -> dict[str, Vector]:
        """The vectors that are known, by text."""
        if not self._seconds or not texts:
            return {}
        hashes = _hashes(texts)
        rows = await self._db.fetch_all(
            organization_id,
            Q["find"],
            {**_key(organization_id, provider, model, dimensions), "hashes": list(hashes)},
        )
        return {hashes[bytes(row["sha256"])]: np.frombuffer(row["vector"], dtype="<f4") for row in rows}

    async def keep(
        self,
        organization_id: OrganizationId,
        provider: str,
        model: str,
        dimensions: int | None,
        vectors: Mapping[str, Vector],
    ) -> None:
        """Keep vectors by text, from now on."""
        if not self._seconds or not vectors:
            return
        hashes = _hashes(vectors)
        await self._db.execute(
            organization_id,
            Q["keep"],
            {
                **_key(organization_id, provider, model, dimensions),
                "hashes": list(hashes),
                "vectors": [np.asarray(vectors[text], dtype="<f4").tobytes() for text in hashes.values()],
                "seconds": float(self._seconds),
            },
        )

    async def sweep(self) -> int:
        """Delete what has expired, of all organisations, a bounded number at a time. Returns how many rows that were."""
        async with self._db.engine() as conn:
            cursor = await conn.execute(Q["expired"].encode(), {"limit": SWEPT_ORGANIZATIONS})
            owners = [OrganizationId(row["organization_id"]) for row in await cursor.fetchall()]
        deleted = 0
        for organization_id in owners:
            params = {"organization_id": organization_id, "limit": SWEPT_ROWS}
            row = await self._db.fetch_one(organization_id, Q["forget"], params)
            deleted += int(row["deleted"]) if row else 0
        return deleted


def _hashes(texts: Sequence[str] | Mapping[str, Vector]) -> dict[bytes, str]:
    return {hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(): text for text in texts}


def _key(organization_id: OrganizationId, provider: str, model: str, dimensions: int | None) -> dict[str, object]:
    return {"organization_id": organization_id, "provider": provider, "model": model, "dimensions": dimensions}
