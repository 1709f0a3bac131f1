"""The choice of models for one caller: everybody's wishes and the state of the providers, brought to the pure choice."""

from __future__ import annotations

import dataclasses
from typing import Any

from domain.errors import InvalidInput
from domain.ids import OrganizationId, UserId
from domain.policy import ModelPolicy
from domain.quota import model_subject
from providers.breaker import Breakers
from providers.choose import choose
from providers.latency import Latencies
from providers.registry import Providers
from providers.route import Kind, Reason, Route, Snapshot, request_of
from storage.policies import ModelPolicies


class Chooser:
    """One per process. `default` is what the environment prefers where nobody wishes anything."""

    def __init__(
        self,
        providers: Providers,
        policies: ModelPolicies,
        breakers: Breakers,
        latencies: Latencies,
        default: ModelPolicy,
    ) -> None:
        self._providers = providers
        self._policies = policies
        self._breakers = breakers
        self._latencies = latencies
        self._default = default

    def snapshot(self) -> Snapshot:
        """The providers as configured, their breakers, the latencies measured here."""
        known = self._providers.snapshot().providers
        if views := self._breakers.tripped():
            tripped = {
                name: dataclasses.replace(known[name], breaker=view.status, retry_at=view.retry_at)
                for name, view in views.items()
                if name in known
            }
            known = {**known, **tripped}
        return Snapshot(known, self._latencies.view())

    async def route(
        self,
        organization_id: OrganizationId,
        user_id: UserId,
        wishes: ModelPolicy,
        *,
        skill: ModelPolicy | None = None,
        kind: Kind = "chat",
        tainted: bool = False,
        **needs: Any,
    ) -> Route:
        """The models for a call, in order. `wishes` are the request's own; `needs` are fields of RouteRequest.

        Raises InvalidInput where the request forces the cloud against a policy that keeps it out, and as `choose`.
        """
        stored = await self._policies.get(organization_id, user_id)
        _check_premises(wishes, {"organisation": stored.organization, "user": stored.user})
        parties: dict[Reason, ModelPolicy | None] = {
            "request": wishes,
            "user": stored.user,
            "skill": skill,
            "organization": stored.organization,
            "default": self._default,
        }
        request = request_of(parties, kind=kind, tainted=tainted, **needs)
        return choose(request, self._providers.catalogue, self.snapshot())

    def named(self, wishes: ModelPolicy) -> str | None:
        """The model that wishes name, as quotas and rates call it; None where they leave the choice open.

        Raises UnknownModel or NoProvider where it can't be had.
        """
        if wishes.provider is None and wishes.model is None:
            return None
        only = ModelPolicy(provider=wishes.provider, model=wishes.model)
        first = choose(request_of({"request": only}), self._providers.catalogue, self.snapshot()).candidates[0]
        return model_subject(first.provider, first.model)


def _check_premises(wishes: ModelPolicy, stored: dict[str, ModelPolicy | None]) -> None:
    for whose, policy in stored.items():
        if wishes.force_cloud and policy is not None and policy.local_only:
            raise InvalidInput(
                "force_cloud",
                f"contradicts the {whose}'s policy local_only, which wins over every wish: it keeps data on the premises",
                rule="local_only",
                of=whose,
            )
