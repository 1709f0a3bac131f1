"""Daily token budgets: reserve -> commit or release around every model call.

A reservation is one conditional statement on the day's row, so no number of parallel calls can pass the limit
together. The day and the hour are the database's, in UTC. An entry is settled on the day it was reserved, also after
midnight.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from domain.errors import QuotaExceeded
from domain.ids import OrganizationId, RunId, ThreadId, TraceId, UserId, new_id
from domain.usage import Usage
from storage.database import Database
from storage.queries import load

Q = load("quota")
RESERVATION_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Reservation:
    """Tokens held for one model call on one day."""

    entry_id: str
    organization_id: OrganizationId
    tokens: int
    day: date


@dataclass(frozen=True, slots=True)
class QuotaState:
    """Where an organisation stands today, in tokens. `limit` None is unlimited."""

    day: date
    limit: int | None
    used: int
    reserved: int
    resets_at: datetime

    @property
    def remaining(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used - self.reserved)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Committed tokens of one (day, provider, model, agent, user). `exact` where every call's usage was the
    provider's own."""

    day: date
    provider: str
    model: str
    agent: str
    user_id: UserId
    calls: int
    prompt: int
    completion: int
    exact: bool


class QuotaLedger:
    """The budgets and the ledger of all organisations. `default_daily_tokens` holds where none was set; None is
    unlimited."""

    def __init__(self, db: Database, default_daily_tokens: int | None = None) -> None:
        self._db = db
        self._default = default_daily_tokens

    async def reserve(
        self,
        organization_id: OrganizationId,
        tokens: int,
        *,
        user_id: UserId,
        agent: str,
        provider: str,
        model: str,
        run_id: RunId | None = None,
        thread_id: ThreadId | None = None,
        trace_id: TraceId | None = None,
        ttl_seconds: float = RESERVATION_SECONDS,
    ) -> Reservation:
        """Hold `tokens` (at least 1, prompt and completion together) of today's budget, until settled or
        `ttl_seconds` from now.

        The rest is what the ledger records of the call. Raises QuotaExceeded, with nothing held.
        """
        entry_id, tokens = new_id(), max(1, tokens)
        row = await self._db.fetch_one(
            organization_id,
            Q["reserve"],
            {
                "entry_id": entry_id,
                "organization_id": organization_id,
                "tokens": tokens,
                "default_limit": self._default,
                "run_id": run_id,
                "thread_id": thread_id,
                "user_id": user_id,
                "agent": agent,
                "provider": provider,
                "model": model,
                "trace_id": trace_id,
                "ttl_seconds": ttl_seconds,
            },
        )
        assert row is not None, "the statement yields one row always"
        if not row["granted"]:
            raise QuotaExceeded(
                limit=row["daily_tokens"],
                used=row["used"],
                reserved=row["reserved"],
                requested=tokens,
                resets_at=row["resets_at"],
            )
        return Reservation(entry_id, organization_id, tokens, row["day"])

    async def commit(self, reservation: Reservation, usage: Usage, *, model: str | None = None) -> None:
        """Charge what the call used; `model` is what really answered, where it differs. A second commit changes
        nothing."""
        await self._db.execute(
            reservation.organization_id,
            Q["commit"],
            {
                "entry_id": reservation.entry_id,
                "prompt": usage.prompt,
                "completion": usage.completion,
                "source": usage.source,
                "model": model,
            },
        )

    async def release(self, reservation: Reservation) -> None:
        """Give the tokens back, the call having used none. Nothing where it is settled already."""
        await self._db.execute(reservation.organization_id, Q["release"], {"entry_id": reservation.entry_id})

    async def release_run(self, organization_id: OrganizationId, run_id: RunId) -> int:
        """Give back what a run that is over, or was taken over, still holds. Returns how many reservations that
        were."""
        row = await self._db.fetch_one(organization_id, Q["release_run"], {"run_id": run_id})
        return int(row["released"]) if row else 0

    async def sweep(self, limit: int = 500) -> int:
        """Give back the expired reservations of all organisations, at most `limit`. Returns how many were expired."""
        async with self._db.engine() as conn:
            cursor = await conn.execute(Q["expired"].encode(), {"limit": limit})
            rows = await cursor.fetchall()
        for row in rows:
            await self._db.execute(row["organization_id"], Q["release"], {"entry_id": row["entry_id"]})
        return len(rows)

    async def today(self, organization_id: OrganizationId) -> QuotaState:
        row = await self._db.fetch_one(
            organization_id, Q["today"], {"organization_id": organization_id, "default_limit": self._default}
        )
        assert row is not None, "the statement yields one row always"
        return QuotaState(row["day"], row["daily_tokens"], row["used"], row["reserved"], row["resets_at"])

    async def set_limit(self, organization_id: OrganizationId, daily_tokens: int | None) -> None:
        """Set the organisation's own limit, from its next reservation on; None is unlimited."""
        await self._db.execute(
            organization_id, Q["set_limit"], {"organization_id": organization_id, "daily_tokens": daily_tokens}
        )

    async def clear_limit(self, organization_id: OrganizationId) -> None:
        """Back to the default."""
        await self._db.execute(organization_id, Q["clear_limit"], {"organization_id": organization_id})

    async def usage(self, organization_id: OrganizationId, days: int) -> list[UsageRow]:
        """Committed usage of today and the `days - 1` days before it, newest first."""
        rows = await self._db.fetch_all(organization_id, Q["usage"], {"organization_id": organization_id, "days": days})
        return [UsageRow(**row) for row in rows]
