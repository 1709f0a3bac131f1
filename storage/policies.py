"""What organisations and users wish of the choice of models."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from domain.ids import OrganizationId, UserId
from domain.policy import ModelPolicy
from storage.database import Database
from storage.queries import load

Q = load("policies")
FRESH_SECONDS = 5.0
KEPT = 10_000
NOBODY = UserId("")
"""The user under which the organisation's own policy is kept."""


@dataclass(frozen=True, slots=True)
class Policies:
    """Of a user and of its organisation; None where it has none."""

    user: ModelPolicy | None = None
    organization: ModelPolicy | None = None


class ModelPolicies:
    """Policies, remembered for a few seconds: they are needed before every model call. A change is seen at once in this replica,
    within FRESH_SECONDS in the others."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: OrderedDict[tuple[OrganizationId, UserId], tuple[float, Policies]] = OrderedDict()

    async def get(self, organization_id: OrganizationId, user_id: UserId) -> Policies:
        key = (organization_id, user_id)
        known = self._known.get(key)
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        params = {"organization_id": organization_id, "user_id": user_id}
        rows = {row["user_id"]: row["policy"] for row in await self._db.fetch_all(organization_id, Q["get"], params)}
        own, common = rows.get(user_id) if user_id else None, rows.get("")
        policies = Policies(
            ModelPolicy.model_validate(own) if own else None, ModelPolicy.model_validate(common) if common else None
        )
        self._known[key] = (time.monotonic(), policies)
        self._known.move_to_end(key)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return policies

    async def put(
        self, organization_id: OrganizationId, user_id: UserId, policy: ModelPolicy, *, updated_by: UserId
    ) -> None:
        """Replace the policy of a user, or with NOBODY of the organisation."""
        params = {
            "organization_id": organization_id,
            "user_id": user_id,
            "policy": Jsonb(policy.model_dump(mode="json", exclude_defaults=True)),
            "updated_by": updated_by,
        }
        await self._db.execute(organization_id, Q["put"], params)
        self._forget(organization_id)

    async def clear(self, organization_id: OrganizationId, user_id: UserId) -> None:
        """Back to no wishes. Nothing where there were none."""
        await self._db.execute(organization_id, Q["clear"], {"organization_id": organization_id, "user_id": user_id})
        self._forget(organization_id)

    def _forget(self, organization_id: OrganizationId) -> None:
        for key in [key for key in self._known if key[0] == organization_id]:
            del self._known[key]
