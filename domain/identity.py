"""Who is asking: the verified content of a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from domain.ids import OrganizationId, UserId

Role = Literal["member", "manager", "admin", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
_RANK: dict[Role, int] = {"member": 0, "manager": 1, "admin": 2, "operator": 3}


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified caller. `organization_name` is what the issuer calls the organisation; `organization_id` its UUID here."""

    organization_id: OrganizationId
    organization_name: str
    user_id: UserId
    roles: frozenset[Role]

    def at_least(self, role: Role) -> bool:
        """True where one of the caller's roles includes `role` (operator > admin > manager > member)."""
        return any(_RANK[held] >= _RANK[role] for held in self.roles)
