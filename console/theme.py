"""How pages look and what the browser does by itself: the style sheet, the logo, the scripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from nicegui import ui

from console.session import ZONE_COOKIE, Preferences
from console.texts import words

_HERE: Final = Path(__file__).resolve().parent
# The parts that bring their own colours take ours, in light and in dark.
BRAND: Final = {
    "primary": "var(--accent)", "positive": "var(--good)", "negative": "var(--bad)", "warning": "var(--warn)",
    "dark": "var(--card)", "dark_page": "var(--page)",
}  # fmt: skip
DARK: Final[dict[str, bool | None]] = {"auto": None, "light": False, "dark": True}
LOGO: Final = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="9" fill="#0b6585"/>'
    '<path d="M16 9.5v5M16 14.5 9.8 20M16 14.5l6.2 5.5" stroke="#bfe6f3" stroke-width="2" fill="none"/>'
    '<circle cx="16" cy="8.8" r="3.3" fill="#fff"/><circle cx="9" cy="21.5" r="3" fill="#fff"/>'
    '<circle cx="23" cy="21.5" r="3" fill="#fff"/><circle cx="16" cy="16" r="2" fill="#bfe6f3"/></svg>'
)
FAVICON: Final = LOGO.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)

# What the page says where the server is gone, in the visitor's language: the page itself is one for all visitors.
_LOST: Final = """
document.addEventListener('DOMContentLoaded', () => {
  const said = %s;
  document.querySelectorAll('#popup span').forEach((span, at) => { span.textContent = said[at]; });
});
"""

# Times are shown as the visitor's clock has them, from the second page on.
_ZONE: Final = (
    f"document.cookie = '{ZONE_COOKIE}=' + new Date().getTimezoneOffset() + ';path=/;max-age=31536000;samesite=lax';"
)

# Keeps the end of the conversation in view while it grows, unless its reader has scrolled up.
_STICK: Final = """
(() => {
  let stick = true, seen = null;
  const end = (box) => { box.scrollTop = box.scrollHeight; };
  const watch = () => {
    const box = document.querySelector('.chat-scroll');
    if (!box || box === seen) return;
    seen = box; end(box);
    box.addEventListener('scroll', () => { stick = box.scrollHeight - box.scrollTop - box.clientHeight < 90; });
    new MutationObserver(() => { if (stick) end(box); }).observe(box, {childList: true, subtree: true, characterData: true});
  };
  new MutationObserver(watch).observe(document.documentElement, {childList: true, subtree: true});
  window.consiliumToEnd = () => { stick = true; if (seen) end(seen); };
})();
"""

# A link that signs in carries its token behind the '#', which no server and no log ever sees.
_FRAGMENT: Final = """
(() => {
  const take = () => {
    const token = new URLSearchParams(location.hash.slice(1)).get('token');
    if (!token) return;
    history.replaceState(null, '', location.pathname + location.search);
    const {asked, here, elsewhere} = %s;
    let who = '?';
    try {
      const part = token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
      const told = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
      who = `${told.user_id || told.sub} · ${told.organization_id}`;
    } catch {}
    if ((elsewhere || (here && here !== who)) && !confirm(`${asked}\n${who}`)) return;
    const form = Object.assign(document.createElement('form'), {method: 'post', action: 'session', hidden: true});
    form.append(Object.assign(document.createElement('input'), {name: 'token', value: token}));
    document.documentElement.append(form);
    form.submit();
  };
  take();
  // Opened where this page stands already, a link changes what is behind the '#' and loads nothing.
  addEventListener('hashchange', take);
})();
"""


@cache
def style() -> str:
    """The style sheet."""
    return (_HERE / "console.css").read_text("utf-8")


def dress(preferences: Preferences) -> None:
    """Give the page that is being built its style, language and scripts."""
    ui.dark_mode(DARK[preferences.theme])
    t = words(preferences.language)
    lost = json.dumps([t("connection.lost"), t("connection.again")], ensure_ascii=False)
    ui.add_head_html(
        f"<style>{style()}</style>"
        f'<script>document.documentElement.lang = "{preferences.language}";{_LOST % lost}{_ZONE}{_STICK}</script>'
        '<meta name="theme-color" media="(prefers-color-scheme: light)" content="#ffffff">'
        '<meta name="theme-color" media="(prefers-color-scheme: dark)" content="#11161b">'
        '<meta name="referrer" content="same-origin">'
    )


def sign_in_by_link(asked: str, *, here: str | None, elsewhere: bool) -> None:
    """Let the page that is being built take a token from its address.

    A link may be anybody's: where another site led to it (`elsewhere`), or somebody else is signed in (`here`), it asks (`asked`) first.
    """
    about = json.dumps({"asked": asked, "here": here, "elsewhere": elsewhere}).replace("<", "\\u003c")
    ui.add_head_html(f"<script>{_FRAGMENT % about}</script>")


def box(classes: str = "", tag: str = "div") -> ui.element:
    """A plain element."""
    return ui.element(tag).classes(classes)


def page_head(title: str, lead: str) -> ui.element:
    """What a page is called and for."""
    with box("page-head grow") as head:
        text(title, tag="h1").mark("heading")
        if lead:
            text(lead, tag="p")
    return head


def text(content: str, classes: str = "", tag: str = "div") -> ui.label:
    """A plain element with text; markup in it stays text."""
    element = ui.label(content).classes(classes)
    element.tag = tag
    return element


def icon_button(icon: str, label: str, on_click: Callable[[], Any] | None = None, classes: str = "quiet") -> ui.button:
    """A button that shows an icon only; `label` is what it is called."""
    button = ui.button(icon=icon, on_click=on_click, color=None).props(
        f'flat round dense aria-label="{_attribute(label)}"'
    )
    return button.classes(classes).tooltip(label)


def menu_button(icon: str, label: str, fill: Callable[[], None], classes: str = "quiet") -> ui.button:
    """An icon that opens a menu. `fill` builds its entries when it is opened first: most menus of a list never are."""
    button = icon_button(icon, label, classes=classes).props("aria-haspopup=menu")
    built: list[ui.menu] = []

    def opened() -> None:
        if not built:
            with button, ui.menu(value=True) as menu:
                fill()
            built.append(menu)

    return button.on_click(opened)


def menu_action(icon: str, label: str, action: Callable[[], Any]) -> None:
    """An entry of the menu that is being built."""
    with ui.menu_item(on_click=action).mark(f"action-{icon}"), box("row-line"):
        ui.icon(icon, size="18px").classes("faint")
        text(label)


def _attribute(value: str) -> str:
    return value.replace("\\", "").replace('"', "”")
