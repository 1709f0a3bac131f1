"""What a page is built with: its visitor, their language, the API in their name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nicegui import Client, ui

from console.api import Api, ApiError
from console.refusals import Refusal, failure, refusal
from console.session import Preferences, Visitor
from console.texts import Words, moment

_TOLD = frozenset({"forbidden", "quota_exceeded", "rate_limited", "unreachable", "not_found"})
"""Errors that are explained by what they are, whatever their sentence says."""
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
            case "unreachable" | "not_found":
                said = self.t(f"error.{error.code}")
            case _:
                said = self.refusal(error).sentence(self.t)
        known = error.status is not None and error.status < 500
        return said if known or not error.trace_id else f"{said} {self.t('error.trace', trace=error.trace_id)}"

    def refusal(self, error: ApiError, *, tools: Sequence[str] = ()) -> Refusal:
        """What is wrong with what was sent, and how to mend it. `tools` are those whose arguments were, in order."""
        return refusal(error, self.t, self.preferences.language, tools=tools)

    def failure(self, error: Mapping[str, Any]) -> Refusal:
        """Why something failed that was begun, from its record's `{code, message, details}`."""
        code = str(error.get("code") or error.get("error_code") or "error")
        reason = (error.get("details") or {}).get("reason")
        return failure(code, error.get("message"), self.t, self.preferences.language, reason=reason)

    def tell(self, error: ApiError, *, about: str | None = None, tools: Sequence[str] = ()) -> None:
        """Say in a corner of the page what the API refuses, its own sentence below, where that is another; of `about`, a file, until
        it is closed. `tools` are those whose arguments were sent."""
        told = None if error.code in _TOLD else self.refusal(error, tools=tools)
        said = self.explain(error) if told is None or error.status is None else told.sentence(self.t)
        caption = told.original if told is not None else None
        ui.notify(
            said if about is None else self.t("documents.failed", name=about, message=said),
            type="negative",
            caption=caption,
            multi_line=True,
            close_button=self.t("close"),
            timeout=0 if about is not None else 8_000,
        )

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
                    self.tell(error)
