"""Request rates: requests a minute of an organisation, of each of its users and of each model it asks for.

GCRA: a limit lets a minute's requests through at once, then one every 60 / limit seconds. Its one value a subject lies in
Postgres and is moved by the database's clock, so replicas share it. Where no limit applies the database isn't asked: an
organisation's own limits are remembered for a few seconds, and its changes made here hold at once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from domain.errors import RateLimited
from domain.ids import OrganizationId, UserId
from domain.quota import Scope
from storage.database import Connection, Database
from storage.queries import load

Q = load("rate")
SCOPES: tuple[Scope, ...] = ("organization", "user", "model")
"""In the order their rows are locked."""
CACHE_SECONDS = 3.0
CACHED_ORGANIZATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests a minute; None is no limit."""

    organization: int | None = None
    user: int | None = None
    model: int | None = None

    def of(self, scope: Scope) -> int | None:
        return {"organization": self.organization, "user": self.user, "model": self.model}[scope]


@dataclass(frozen=True, slots=True)
class RateChange:
    """A rate to set. `per_minute` None is no limit; with `clear` the default holds again."""

    scope: Scope
    per_minute: int | None = None
    clear: bool = False


class RateLimits:
    """The rates of all organisations. `defaults` hold where an organisation has set none."""

    def __init__(self, db: Database, defaults: Rates = Rates(), *, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._defaults = defaults
        self._clock = clock
        self._known: OrderedDict[OrganizationId, tuple[float, Mapping[Scope, int | None]]] = OrderedDict()

    async def admit(self, organization_id: OrganizationId, user_id: UserId, model: str | None) -> None:
        """Count one request. `model` is the one it names ("provider/model"), None where it names none.

        Raises RateLimited for the first limit that does not allow it; it counts nowhere then.
        """
        own = await self._own(organization_id)
        limits = {scope: own.get(scope, self._defaults.of(scope)) for scope in SCOPES}
        subjects: dict[Scope, str | None] = {"organization": "", "user": user_id, "model": model}
        asked: list[tuple[Scope, str, int]] = []
        for scope in SCOPES:
            limit, subject = limits[scope], subjects[scope]
            if limit is not None and subject is not None:
                asked.append((scope, subject, limit))
        if not asked:
            return
        row = await self._db.fetch_one(
            organization_id,
            Q["admit"],
            {
                "organization_id": organization_id,
                "scopes": [scope for scope, _, _ in asked],
                "subjects": [subject for _, subject, _ in asked],
                "limits": [limit for _, _, limit in asked],
            },
        )
        assert row is not None, "the statement yields one row always"
        if row["refused"] is not None:
            scope, _, limit = asked[row["refused"] - 1]
            raise RateLimited(scope, limit=limit, retry_after=round(row["retry_after"], 3))

    async def own(self, organization_id: OrganizationId) -> Mapping[Scope, int | None]:
        """What the organisation has set itself, as it is now."""
        self._known.pop(organization_id, None)
        return await self._own(organization_id)

    @property
    def defaults(self) -> Rates:
        return self._defaults

    async def change_within(self, conn: Connection, organization_id: OrganizationId, rates: list[RateChange]) -> None:
        """Set or clear limits as a part of the caller's transaction; `forget` once it is over."""
        for rate in sorted(rates, key=lambda one: one.scope):
            params = {"organization_id": organization_id, "scope": rate.scope}
            if rate.clear:
                await conn.execute(Q["clear_limit"].encode(), params)
            else:
                await conn.execute(Q["set_limit"].encode(), {**params, "per_minute": rate.per_minute})

    async def change(self, organization_id: OrganizationId, rates: list[RateChange]) -> None:
        """Set or clear limits, all or none."""
        async with self._db.tenant(organization_id) as conn:
            await self.change_within(conn, organization_id, rates)
        self.forget(organization_id)

    def forget(self, organization_id: OrganizationId) -> None:
        """Read the organisation's limits again with its next request."""
        self._known.pop(organization_id, None)

    async def _own(self, organization_id: OrganizationId) -> Mapping[Scope, int | None]:
        now = self._clock()
        known = self._known.get(organization_id)
        if known is not None and now - known[0] < CACHE_SECONDS:
            return known[1]
        rows = await self._db.fetch_all(organization_id, Q["own"], {"organization_id": organization_id})
        own: dict[Scope, int | None] = {row["scope"]: row["per_minute"] for row in rows}
        self._known[organization_id] = (now, own)
        self._known.move_to_end(organization_id)
        if len(self._known) > CACHED_ORGANIZATIONS:
            self._known.popitem(last=False)
        return own
