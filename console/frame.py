"""What is around every page: the menu with the conversations, the heading, the account, the keyboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from nicegui import ui
from nicegui.events import KeyEventArguments

from console.context import Context
from console.conversations import Conversations
from console.dialogs import show_keys
from console.session import THEMES
from console.texts import LANGUAGES
from console.theme import LOGO, box, dress, icon_button, text

PAGES = (
    ("/", "chat", "forum"),
    ("/documents", "documents", "description"),
    ("/notes", "notes", "lightbulb"),
    ("/skills", "skills", "school"),
    ("/tools", "tools", "handyman"),
    ("/models", "models", "memory"),
    ("/usage", "usage", "bar_chart"),
    ("/graph", "graph", "account_tree"),
    ("/jobs", "jobs", "checklist"),
    ("/evals", "evals", "verified"),
)
_ADMINS: Final = frozenset({"evals"})
"""Pages that the API serves to admins alone: others aren't led to a refusal."""
_TITLED: Final = frozenset({"chat", "graph"})
"""Pages that fill the screen: their title stands above them. The others begin with theirs."""
_NAMES = {"ru": "Русский", "en": "English"}


@dataclass(frozen=True, slots=True)
class Frame:
    """What of the frame a page may change."""

    conversations: Conversations
    heading: ui.label


@contextmanager
def frame(context: Context, here: str, title: str, *, path: str, thread_id: str | None = None) -> Iterator[Frame]:
    """The frame of the page `here` (one of PAGES); what is built inside is its content. `path` is its address."""
    t = context.t
    dress(context.preferences)
    ui.page_title(f"{title} · {t('app')}" if title != t("app") else title)
    with (
        # The browser decides whether it is open, by its width; asking it would cost a wait.
        ui.left_drawer(value=False, top_corner=True, bottom_corner=True)
        .props("width=276 breakpoint=1023 show-if-above")
        .classes("side") as drawer
    ):
        brand(t("app"))
        _navigation(context, here)
        box("side-rule")
        ui.button(t("threads.new"), icon="add", on_click=lambda: ui.navigate.to("/"), color=None).props(
            "flat no-caps"
        ).classes("outline").mark("new-conversation")
        conversations = Conversations(context, thread_id)
    with ui.header(elevated=False).classes("head" if here in _TITLED else "head bare"):
        icon_button("menu", t("menu.open"), lambda: drawer.run_method("toggle"), "quiet only-narrow").mark("menu")
        heading = text(title if here in _TITLED else "", "one-line grow", "h1" if here in _TITLED else "div")
        if here in _TITLED:
            heading.mark("heading")
        _account(context, path)
    content = box("stack", "main").style("gap:0;width:100%")
    ui.skip_link(t("skip"), target=content)
    ui.keyboard(on_key=lambda event: _key(context, event, conversations))
    with content:
        yield Frame(conversations, heading)
    # Last: a timer lets the page go out to the browser, and until then it may still turn out to be another.
    ui.timer(0.01, conversations.show, once=True)


def brand(name: str) -> None:
    """The logo with the product's name."""
    with ui.link(target="/").classes("brand"):
        ui.html(LOGO, sanitize=False)
        text(name, tag="span")


def _navigation(context: Context, here: str) -> None:
    with box("nav", "nav").props(f'aria-label="{context.t("nav.main")}"').mark("navigation"):
        shown = [page for page in PAGES if page[1] not in _ADMINS or context.visitor.administers]
        for target, name, icon in shown:
            with ui.link(target=target) as link:
                ui.icon(icon)
                text(context.t(f"nav.{name}"), tag="span")
            if name == here:
                link.props("aria-current=page")


def _account(context: Context, path: str) -> None:
    t, visitor = context.t, context.visitor
    button = ui.button(color=None).props(f'flat no-caps aria-label="{t("menu.account")}" aria-haspopup=menu')
    with button.classes("quiet account").mark("account"):
        text(visitor.user[:1].upper(), "face", "span")
        text(visitor.user, "one-line only-wide", "span")
        with ui.menu().props("auto-close"), box("menu stack").style("min-width:240px;gap:2px"):
            with box().style("padding:8px 12px 10px"):
                text(visitor.user, "anywhere strong")
                text(" · ".join(filter(None, (visitor.organization, context.role))), "small muted anywhere")
            _choices(
                t("menu.language"),
                path,
                "language",
                [(one, _NAMES[one]) for one in LANGUAGES],
                context.preferences.language,
            )
            themes = [(one, t(f"theme.{one}")) for one in THEMES]
            _choices(t("menu.theme"), path, "theme", themes, context.preferences.theme)
            box("side-rule")
            with ui.menu_item(on_click=lambda: show_keys(t)), box("row-line"):
                ui.icon("keyboard", size="18px").classes("faint")
                text(t("menu.keys"))
            with ui.menu_item(on_click=_sign_out).mark("sign-out"), box("row-line"):
                ui.icon("logout", size="18px").classes("faint")
                text(t("menu.sign_out"))


def _choices(label: str, path: str, name: str, options: Sequence[tuple[str, str]], current: str) -> None:
    text(label, "thread-group")
    for value, shown in options:
        target = f"/preferences?{urlencode({name: value, 'back': path})}"
        with ui.menu_item(on_click=lambda target=target: ui.navigate.to(target)), box("row-line"):
            ui.icon("check" if value == current else "", size="18px").style("width:18px")
            text(shown)


def _sign_out() -> None:
    ui.run_javascript(
        "const f = Object.assign(document.createElement('form'), {method: 'post', action: window.path_prefix + '/session/end'});"
        "document.body.append(f); f.submit();"
    )


def _key(context: Context, event: KeyEventArguments, conversations: Conversations) -> None:
    """Single keys, while nobody types."""
    if (
        not event.action.keydown
        or event.action.repeat
        or event.modifiers.ctrl
        or event.modifiers.alt
        or event.modifiers.meta
    ):
        return
    match str(event.key).lower():
        case "/" | ".":
            ui.run_javascript("document.querySelector('.composer textarea')?.focus()")
        case "n" | "т":
            ui.navigate.to("/")
        case "s" | "ы":
            conversations.search.run_method("focus")
        case "?" | ",":
            show_keys(context.t)
