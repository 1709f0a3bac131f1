"""Every word the console shows, in Russian and English, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, Literal, get_args

from console.wording import abilities, conversations, frame, insight, knowledge, quality, refusals, tools

Language = Literal["ru", "en"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
Words = Callable[..., str]
"""`t("key", name=value)`: the text of the key, its places filled in."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Not the server's locale's."""
TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    **frame.TEXTS,
    **conversations.TEXTS,
    **knowledge.TEXTS,
    **abilities.TEXTS,
    **tools.TEXTS,
    **insight.TEXTS,
    **quality.TEXTS,
    **refusals.TEXTS,
}


def words(language: Language) -> Words:
    """The texts of one language. The function raises KeyError for a key that isn't there."""
    at = LANGUAGES.index(language)

    def text(key: str, **values: Any) -> str:
        return TEXTS[key][at].format(**values)

    return text


def chosen_language(accept: str) -> Language:
    """The first of ours in an Accept-Language header; English where there is none."""
    for part in accept.split(","):
        code = part.partition(";")[0].strip().lower().partition("-")[0]
        for language in LANGUAGES:
            if code == language:
                return language
    return "en"


def number(value: int, language: Language) -> str:
    """With thousands set apart as the language does."""
    return f"{value:,}".replace(",", "\u00a0" if language == "ru" else ",")


def size(value: int, language: Language) -> str:
    """Bytes as a person reads them."""
    units = ("Б", "КБ", "МБ") if language == "ru" else ("B", "KB", "MB")
    amount, at = float(value), 0
    while amount >= 1000 and at < len(units) - 1:
        amount, at = amount / 1024, at + 1
    shown = f"{amount:.0f}" if at == 0 or amount >= 10 else f"{amount:.1f}"
    return f"{shown.replace('.', ',') if language == 'ru' else shown}\u00a0{units[at]}"


def moment(value: str | None, language: Language, zone: tzinfo = UTC) -> str:
    """A time of the API in `zone`: to the minute where it is today's, else the day."""
    if not value:
        return ""
    at = datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(zone)
    if at.date() == datetime.now(zone).date():
        return f"{at:%H:%M}"
    return f"{at:%d.%m.%Y}" if language == "ru" else f"{at:%d} {_MONTHS[at.month - 1]} {at:%Y}"
