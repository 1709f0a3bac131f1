"""Days and times: how models write them, and how amoCRM counts them (Unix time in seconds)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any

from domain.errors import InvalidToolArguments

YEARS = range(1971, 2100)
DATE = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$", "description": "A day, as in 2026-11-21."}
MOMENT = {
    "type": "string",
    "pattern": r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?$",
    "description": "A day, as in 2026-11-21 (then its end), or a time, as in 2026-11-21T15:00; both in the account's time zone.",
}


@dataclass(frozen=True, slots=True)
class Period:
    """Seconds, both inclusive; None is open."""

    start: int | None
    end: int | None

    def __contains__(self, moment: int | None) -> bool:
        if moment is None:
            return self.start is None and self.end is None
        return (self.start is None or moment >= self.start) and (self.end is None or moment <= self.end)

    def __bool__(self) -> bool:
        return self.start is not None or self.end is not None


def period(arguments: dict[str, Any], zone: tzinfo) -> Period:
    """From `date_from` and `date_to`, whole days. Raises InvalidToolArguments for days that aren't or are turned round."""
    first, last = (_day(name, arguments.get(name)) for name in ("date_from", "date_to"))
    if first and last and first > last:
        raise InvalidToolArguments("date_from: is after date_to; turn them round.", fields=["date_from", "date_to"])
    return Period(_seconds(first, zone), None if last is None else end_of(last, zone))


def moment(name: str, text: str, zone: tzinfo) -> int:
    """The Unix time of a MOMENT. Raises InvalidToolArguments."""
    if len(text) == 10:
        day = _day(name, text)
        assert day is not None, "the text is not empty"
        return end_of(day, zone)
    _day(name, text[:10])
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp())
    except ValueError:
        raise InvalidToolArguments(f"{name}: there is no such time {text}.", fields=[name]) from None


def shown(seconds: int | None, zone: tzinfo) -> str | None:
    """As in 2026-11-21T15:00:00+03:00."""
    return None if seconds is None else datetime.fromtimestamp(seconds, zone).isoformat()


def end_of(day: date, zone: tzinfo) -> int:
    """The last second of a day."""
    return int(datetime.combine(day + timedelta(days=1), time(), zone).timestamp()) - 1


def _seconds(day: date | None, zone: tzinfo) -> int | None:
    return None if day is None else int(datetime.combine(day, time(), zone).timestamp())


def _day(name: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidToolArguments(f"{name}: there is no such day {text}.", fields=[name]) from None
    if day.year not in YEARS:
        raise InvalidToolArguments(
            f"{name}: the year must be {YEARS[0]} to {YEARS[-1]}, not {day.year}.", fields=[name]
        )
    return day
