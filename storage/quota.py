"""Daily token budgets: reserve -> commit or release around every model call.

A reservation holds tokens under the limits of the organisation, the user and the model at once, in one statement that
locks them in that order, so no number of parallel calls can pass a limit together. The day and the hour are the
database's, in UTC. An entry is settled on the day it was reserved, also after midnight. A reservation holds for all others at
once but doesn't wait for the disk; what is lost of it with a crash of the database, its commit books anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import structlog

from domain.calls import CallRecord, Purpose
from domain.errors import QuotaExceeded
from domain.ids import OrganizationId, RunId, ThreadId, TraceId, UserId, new_id
from domain.quota import Exhaustion, Scope
from domain.usage import Usage
from storage import model_calls
from storage.database import Connection, Database
from storage.queries import load

log = structlog.get_logger(__name__)
Q = load("quota")
RESERVATION_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Reservation:
    """Tokens held for one model call on one day."""

    entry_id: str
    organization_id: OrganizationId
    tokens: int
    day: date
    call: Mapping[str, Any]
    """What the ledger records of the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """Where an organisation, a user or a model stands today, in tokens. `limit` None is unlimited. Counts of the subject '*', which
    is each user's limit, are None."""

    scope: Scope
    subject: str | None
    """None for the organisation."""
    limit: int | None
    source: str | None
    """`own`, `default` where it is the configured one or that of '*', None where a user has none."""
    used: int | None
    reserved: int | None
    resets_at: datetime

    @property
    def remaining(self) -> int | None:
        if self.limit is None or self.used is None or self.reserved is None:
            return None
        return max(0, self.limit - self.used - self.reserved)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaState(LimitState):
    """Where an organisation itself stands today, and what happens when it has used up its tokens."""

    day: date
    used: int
    reserved: int
    on_exhausted: Exhaustion


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A limit to set. `daily_tokens` None is unlimited; with `clear` the default holds again. An organisation's subject is ''."""

    scope: Scope
    subject: str = ""
    daily_tokens: int | None = None
    clear: bool = False


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Committed tokens of one provider and model and of a day, agent and user, None where all of them are added up.

    `exact` where every call's usage was the provider's own.
    """

    day: date | None
    provider: str
    model: str
    agent: str | None
    user_id: UserId | None
    calls: int
    prompt: int
    completion: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Completion:
    """The length of one answer, in tokens."""

    agent: str
    provider: str
    model: str
    completion: int


class QuotaLedger:
    """The budgets and the ledger of all organisations. `default_daily_tokens` holds for an organisation where none was set;
    None is unlimited."""

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
        call_id: str | None = None,
        purpose: Purpose = "answer",
        ttl_seconds: float = RESERVATION_SECONDS,
    ) -> Reservation:
        """Hold `tokens` (at least 1, prompt and completion together) of today's budgets, until settled or
        `ttl_seconds` from now.

        The rest is what the ledger records of the call; attempts of one logical call share a `call_id`. Raises
        QuotaExceeded for the first limit that does not allow it, with nothing held.
        """
        entry_id, tokens = new_id(), max(1, tokens)
        call = {
            "run_id": run_id,
            "thread_id": thread_id,
            "user_id": user_id,
            "agent": agent,
            "provider": provider,
            "model": model,
            "trace_id": trace_id,
            "call_id": call_id,
            "purpose": purpose,
        }
        row = await self._db.fetch_one(
            organization_id,
            Q["reserve"],
            {
                "entry_id": entry_id,
                "organization_id": organization_id,
                "tokens": tokens,
                "default_limit": self._default,
                "ttl_seconds": float(ttl_seconds),
                **call,
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
                scope=row["scope"],
                subject=row["subject"],
                waits=row["waits"],
            )
        return Reservation(entry_id, organization_id, tokens, row["day"], call)

    async def commit(
        self, reservation: Reservation, usage: Usage, *, model: str | None = None, record: CallRecord | None = None
    ) -> None:
        """Charge what the call used; `model` is what really answered, where it differs. A second commit changes
        nothing. With `record` the call's record is written with it, or neither is."""
        settled = {
            "entry_id": reservation.entry_id,
            "organization_id": reservation.organization_id,
            "day": reservation.day,
            "tokens": reservation.tokens,
            **reservation.call,
            "prompt": usage.prompt,
            "completion": usage.completion,
            "source": usage.source,
            "answered": model,
        }
        if record is None:
            await self._db.execute(reservation.organization_id, Q["commit"], settled)
            return
        statements = [(Q["commit"], settled), model_calls.inserted(record)]
        await self._db.batch_again(reservation.organization_id, statements)

    async def release(self, reservation: Reservation) -> None:
        """Give the tokens back, the call having used none. Nothing where it is settled already."""
        await self._release(reservation.organization_id, [reservation.entry_id])

    async def _release(self, organization_id: OrganizationId, entry_ids: Sequence[str]) -> int:
        row = await self._db.fetch_one(organization_id, Q["release"], {"entry_ids": list(entry_ids)})
        return int(row["released"]) if row else 0

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
            await self._release(row["organization_id"], row["entry_ids"])
        return sum(len(row["entry_ids"]) for row in rows)

    async def today(self, organization_id: OrganizationId) -> QuotaState:
        """Where the organisation itself stands."""
        row = await self._db.fetch_one(
            organization_id, Q["today"], {"organization_id": organization_id, "default_limit": self._default}
        )
        assert row is not None, "the statement yields one row always"
        source = "own" if row.pop("own") else "default"
        return QuotaState(scope="organization", subject=None, limit=row.pop("daily_tokens"), source=source, **row)

    async def used_up(self, organization_id: OrganizationId, user_id: UserId) -> QuotaExceeded | None:
        """The refusal that any call of the user meets now, however short; None where it has tokens left."""
        params = {"organization_id": organization_id, "user_id": user_id, "default_limit": self._default}
        row = await self._db.fetch_one(organization_id, Q["used_up"], params)
        return None if row is None else QuotaExceeded(limit=row.pop("daily_tokens"), requested=1, **row)

    async def subjects(
        self, organization_id: OrganizationId, user_id: UserId, *, everyone: bool = False
    ) -> list[LimitState]:
        """Where the user stands, first, and each model that has a limit; with `everyone` also each user who has one of their
        own, and the limit of '*'."""
        rows = await self._db.fetch_all(
            organization_id,
            Q["subjects"],
            {"organization_id": organization_id, "user_id": user_id, "everyone": everyone},
        )
        return [LimitState(limit=row.pop("daily_tokens"), **row) for row in rows]

    async def set_limit(
        self,
        organization_id: OrganizationId,
        daily_tokens: int | None,
        *,
        scope: Scope = "organization",
        subject: str = "",
    ) -> None:
        """Set an own limit, from the next reservation on; None is unlimited.

        The subject is '' of an organisation, a user's id or '*' (each user who has none), or "provider/model".
        """
        await self.change(organization_id, [LimitChange(scope, subject, daily_tokens)])

    async def clear_limit(
        self, organization_id: OrganizationId, *, scope: Scope = "organization", subject: str = ""
    ) -> None:
        """Back to the default."""
        await self.change(organization_id, [LimitChange(scope, subject, clear=True)])

    async def change(
        self, organization_id: OrganizationId, limits: Sequence[LimitChange], *, on_exhausted: Exhaustion | None = None
    ) -> None:
        """Make all changes or none. `on_exhausted` None leaves it as it is."""
        async with self._db.tenant(organization_id) as conn:
            await self.change_within(conn, organization_id, limits, on_exhausted)

    async def change_within(
        self,
        conn: Connection,
        organization_id: OrganizationId,
        limits: Sequence[LimitChange],
        on_exhausted: Exhaustion | None,
    ) -> None:
        """`change` as a part of the caller's transaction."""
        for one in sorted(limits, key=lambda limit: (limit.scope, limit.subject)):
            params = {"organization_id": organization_id, "scope": one.scope, "subject": one.subject}
            if one.clear:
                await conn.execute(Q["clear_limit"].encode(), params)
            else:
                await conn.execute(Q["set_limit"].encode(), {**params, "daily_tokens": one.daily_tokens})
        if on_exhausted is not None:
            await conn.execute(
                Q["set_exhaustion"].encode(), {"organization_id": organization_id, "action": on_exhausted}
            )

    async def usage(
        self,
        organization_id: OrganizationId,
        days: int,
        *,
        by_day: bool = True,
        by_agent: bool = True,
        by_user: bool = True,
        only_user: UserId | None = None,
    ) -> list[UsageRow]:
        """Committed usage of today and the `days - 1` days before it, newest first; always by provider and model, for
        their price."""
        params = {
            "organization_id": organization_id,
            "days": days,
            "by_day": by_day,
            "by_agent": by_agent,
            "by_user": by_user,
            "only_user": only_user,
        }
        return [UsageRow(**row) for row in await self._db.fetch_all(organization_id, Q["usage"], params)]

    async def recent_completions(self, *, days: int = 2, each: int = 50) -> list[Completion]:
        """The lengths of the latest answers of all organisations, at most `each` of an agent and model, oldest first."""
        async with self._db.engine() as conn:
            cursor = await conn.execute(Q["recent_completions"].encode(), {"days": days, "each": each})
            return [Completion(**row) for row in await cursor.fetchall()]
