"""The page where a token is given."""

from __future__ import annotations

from nicegui import ui

from console.frame import brand
from console.session import MAX_TOKEN_CHARS, Preferences, Visitor
from console.texts import LANGUAGES, words
from console.theme import box, dress, sign_in_by_link, text

_COMMAND = "consilium token --organization acme --user anna --role manager"
_ERRORS = ("empty", "expired", "malformed", "signature", "claims", "too_long", "ended", "refused")


def sign_in_page(preferences: Preferences, error: str, message: str, *, here: Visitor | None, elsewhere: bool) -> None:
    """Ask for a token; `error` says why the last one was not taken, `message` in the API's words. `here` is signed in already,
    `elsewhere` says that another site led here."""
    t = words(preferences.language)
    dress(preferences)
    signed_in = f"{here.user} · {here.organization}" if here is not None else None
    sign_in_by_link(t("sign_in.by_link"), here=signed_in, elsewhere=elsewhere)
    ui.page_title(f"{t('sign_in.title')} · {t('app')}")
    with box("gate", "main"), box("gate-card"):
        brand(t("app"))
        with box():
            text(t("sign_in.title"), tag="h1")
            text(t("sign_in.lead"), "muted")
        if error == "unreachable":
            text(t("error.unreachable"), "notice bad").props("role=alert").mark("sign-in-error")
        elif error in _ERRORS:
            said = t(f"sign_in.{error}", message=message, limit=MAX_TOKEN_CHARS)
            text(said, "notice bad").props("role=alert").mark("sign-in-error")
        # A form of its own: it works before any script has run, and the token takes no other way than to the server.
        with ui.element("form").props("method=post action=session").classes("stack"):
            ui.textarea(t("sign_in.token")).props(
                'outlined name=token rows=4 autofocus spellcheck=false autocomplete=off input-class="mono"'
            ).mark("token")
            ui.button(t("sign_in.button"), color=None).props("type=submit flat no-caps").classes("solid").mark(
                "sign-in"
            )
        with box():
            text(t("sign_in.help"), "faint small")
            text(_COMMAND, "code", "pre")
        with box("row-line").style("justify-content:center;gap:14px"):
            for language, name in zip(LANGUAGES, ("Русский", "English"), strict=True):
                if language != preferences.language:
                    ui.link(name, f"/preferences?language={language}&back=/sign-in").classes("small")
