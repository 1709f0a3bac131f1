"""What a page is built with: its visitor, their language, the API in their name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nicegui import Client, ui

from console.api import Api, ApiError
from console.session import Preferences, Visitor
from console.texts import Words, moment

ROLES = ("operator", "admin", "manager", "member")


@dataclass(frozen=True, slots=True)
class Context:
    """One page's; lives as long as the page is open."""

    api: Api
    visitor: Visitor
    preferences: Preferences
    t: Words
    client: Client
    """The page itself, which stays when the element goes that a handler belongs to."""

    def moment(self, value: str | None) -> str:
        return moment(value, self.preferences.language, self.preferences.zone)

    @property
    def role(self) -> str:
        """The visitor's highest role, in words."""
        known = next((role for role in ROLES if role in self.visitor.roles), None)
        return self.t(f"role.{known}") if known else ""

    def explain(self, error: ApiError) -> str:
        """What went wrong, in the visitor's language, and what to tell whoever runs the server."""
        match error.code:
            case "forbidden":
                role = str(error.details.get("required_role") or "")
                said = self.t("error.forbidden", role=self.t(f"role.{role}") if role in ROLES else role)
            case "quota_exceeded":
                said = self.t("error.quota_exceeded", at=self.moment(error.details.get("resets_at")))
            case "rate_limited":
                said = self.t("error.rate_limited", seconds=error.details.get("retry_after", 60))
            case "too_large":
                said = self.t("error.too_large", message=error.message)
            case "unreachable" | "not_found":
                said = self.t(f"error.{error.code}")
            case _:
                said = self.t("error.other", message=error.message)
        known = error.status is not None and error.status < 500
        return said if known or not error.trace_id else f"{said} {self.t('error.trace', trace=error.trace_id)}"

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What the API refuses inside is told in a corner of the page; an ended session leads to signing in."""
        try:
            yield
        except ApiError as error:
            with self.client:
                if error.status == 401:
                    ui.navigate.to("/sign-in?error=ended")
                else:
                    ui.notify(self.explain(error), type="negative", close_button=self.t("close"), multi_line=True)
