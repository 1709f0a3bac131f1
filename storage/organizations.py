"""Organisations come into being with the first verified token that names them."""

from __future__ import annotations

from domain.ids import OrganizationId
from storage.database import Database
from storage.queries import load

Q = load("organizations")


class Organizations:
    """Remembers in the process which organisations are there, so that a request asks once."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: set[OrganizationId] = set()

    async def ensure(self, organization_id: OrganizationId, name: str) -> None:
        """Make sure the organisation has its row."""
        if organization_id not in self._known:
            await self._db.execute(organization_id, Q["ensure"], {"organization_id": organization_id, "name": name})
            self._known.add(organization_id)
