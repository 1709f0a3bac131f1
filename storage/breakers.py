"""Circuit breakers shared by all replicas: one row a provider, changed under its lock on the database's clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection, OperationalError

from domain.breaker import BreakerState
from storage.database import Database
from storage.queries import load

log = structlog.get_logger(__name__)
Q = load("breakers")


@dataclass(frozen=True, slots=True)
class StoredBreaker:
    """A state since when, and the database's time when it was read."""

    state: BreakerState
    changed_at: datetime
    now: datetime


class BreakerStore:
    """Reads and changes breakers. Every method raises OperationalError or PoolTimeout where the database can't be reached."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def change(
        self, provider: str, transition: Callable[[BreakerState, datetime], BreakerState]
    ) -> StoredBreaker:
        """Apply a transition to the provider's state; the others are told where it made a difference. Once more where the
        connection had been lost."""
        try:
            return await self._change(provider, transition)
        except OperationalError as lost:
            log.warning("database connection lost, retrying once", error=type(lost).__name__)
            await self._db.pool.drain()
            return await self._change(provider, transition)

    async def _change(
        self, provider: str, transition: Callable[[BreakerState, datetime], BreakerState]
    ) -> StoredBreaker:
        async with self._db.engine() as conn:
            await conn.execute(Q["ensure"].encode(), {"provider": provider})
            row = await (await conn.execute(Q["lock"].encode(), {"provider": provider})).fetchone()
            assert row is not None, "the row was made in this transaction or before"
            before = _stored(row)
            after = transition(before.state, before.now)
            if after == before.state:
                return before
            cursor = await conn.execute(Q["change"].encode(), {"provider": provider, **asdict(after)})
            changed = await cursor.fetchone()
            assert changed is not None, "the row is locked"
            return StoredBreaker(after, changed["changed_at"], before.now)

    async def all(self) -> dict[str, StoredBreaker]:
        """The breakers of all providers that have ever failed."""
        async with self._db.engine() as conn:
            rows = await (await conn.execute(Q["all"].encode())).fetchall()
        return {row["provider"]: _stored(row) for row in rows}

    async def changes(self, every: float) -> AsyncIterator[None]:
        """Yields at once, then whenever a replica has changed a breaker, and every so many seconds anyway.

        On a connection of its own: LISTEN doesn't pass a pooler of transactions.
        """
        async with await AsyncConnection.connect(str(self._db.pool.conninfo), autocommit=True) as conn:
            await conn.execute(Q["listen"].encode())
            while True:
                yield
                async for _ in conn.notifies(timeout=every, stop_after=1):
                    pass


def _stored(row: dict[str, Any]) -> StoredBreaker:
    values = {key: value for key, value in row.items() if key not in ("provider", "changed_at", "now")}
    return StoredBreaker(BreakerState(**values), row["changed_at"], row["now"])
