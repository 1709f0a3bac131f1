"""Reading a figure with a tool: which one answers a question by itself, and with what arguments.

Only names, descriptions and schemas are known here, of tools that may come from anywhere. So a tool is taken only where its name
says that it reads, its description covers every word of the question, and it needs nothing that the question doesn't say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from providers.extractive.lexicon import Lexicon, plain
from providers.extractive.question import Concept, any_content, term_set

OWN = frozenset({"switch_to_subagent", "finish_subagent", "search_documents", "save_organization_note", "web_search"})
_READS_FIRST = frozenset(["get", "list", "search", "find", "read", "show", "fetch", "count", "describe"])
_READS_LAST = frozenset(["get", "search", "find", "read", "fetch", "summary"])
_HOW_MANY = frozenset(["many", "much", "number", "amount", "total", "sum", "сколько", "сумма", "количество", "число"])
_REASONS = re.compile(r"\b(?:why|reasons?|почему|зачем|отчего|причин\w+)\b")
"""What figures don't tell."""
_FROM, _TO = "date_from", "date_to"
_THIS = r"(?:this|current|эт(?:от|ом|ой|у|а|ого)|текущ\w+)"
_LAST = r"(?:last|previous|прошл\w+|предыдущ\w+)"
_SPANS = {"week": r"(?:week|недел\w+)", "month": r"(?:month|месяц\w*)", "quarter": r"(?:quarter|квартал\w*)",
          "year": r"(?:year|год\w*)"}  # fmt: skip
_SPAN_WORD = re.compile("|".join([_THIS, _LAST, *_SPANS.values(), "today|yesterday|сегодня|вчера"]))


def choose(
    text: str,
    asked: Sequence[Concept],
    tools: Mapping[str, dict[str, Any]],
    lexicon: Lexicon,
    today: date | None,
) -> tuple[str, dict[str, Any]] | None:
    """The tool and its arguments; None where none fits. `today` None: no period can be told."""
    if _REASONS.search(plain(text)):
        return None
    period = None if today is None else period_of(text, today)
    if period is not None:
        asked = [concept for concept in asked if not _SPAN_WORD.fullmatch(plain(concept.word))]
    fitting: list[tuple[float, int, str, dict[str, Any]]] = []
    for place, (name, tool) in enumerate(tools.items()):
        if name in OWN or not _reads(name):
            continue
        parameters = tool.get("parameters", {})
        takes_period = {_FROM, _TO} <= parameters.get("properties", {}).keys()
        arguments = dict(zip((_FROM, _TO), map(date.isoformat, period), strict=True)) if period and takes_period else {}
        if not set(parameters.get("required", ())) <= arguments.keys() or (period and not takes_period):
            continue
        if score := _fit(name, str(tool.get("description", "")), asked, lexicon):
            fitting.append((score, -place, name, arguments))
    if not fitting:
        return None
    _, _, name, arguments = max(fitting, key=lambda one: one[:2])
    return name, arguments


def short(name: str) -> str:
    """A tool's name without its server's."""
    return name.rpartition("__")[2]


def _reads(name: str) -> bool:
    words = re.findall(r"[a-z0-9]+", short(name).lower())
    return bool(words) and (words[0] in _READS_FIRST or words[-1] in _READS_LAST)


def _fit(name: str, description: str, asked: Sequence[Concept], lexicon: Lexicon) -> float:
    """0 where a word of the question is not in it; the more often they are, and in the name, the more."""
    if not any_content(asked):
        return 0.0
    terms, named = term_set(description, lexicon), term_set(re.sub(r"[_-]+", " ", short(name)), lexicon)
    if any(_must_be_told(concept) and not concept.match(terms | named) for concept in asked):
        return 0.0
    words = [term_set(word, lexicon) for word in re.findall(r"\w+", description)]
    score = 0.0
    for concept in asked:
        often = sum(concept.match(word) for word in words)
        score += concept.strength * (math.log1p(often) + concept.match(named))
    return score


def _must_be_told(concept: Concept) -> bool:
    """How many there are any tool may tell; a rate, a time, a person only one that says so."""
    told = concept.asked is not None and plain(concept.word) not in _HOW_MANY
    return bool(concept.content or concept.anchor) or told


def period_of(text: str, today: date) -> tuple[date, date] | None:
    """The first and the last day of the period that a question names relative to today; None where it names none."""
    said = plain(text)
    if re.search(r"\b(?:today|сегодня)\b", said):
        return today, today
    if re.search(r"\b(?:yesterday|вчера)\b", said):
        return today - timedelta(days=1), today - timedelta(days=1)
    for span, words in _SPANS.items():
        if re.search(rf"\b{_THIS}\s+{words}\b", said):
            return _span(span, today)
        if re.search(rf"\b{_LAST}\s+{words}\b", said):
            return _span(span, _span(span, today)[0] - timedelta(days=1))
    return None


def _span(span: str, day: date) -> tuple[date, date]:
    match span:
        case "week":
            first = day - timedelta(days=day.weekday())
            return first, first + timedelta(days=6)
        case "month":
            return day.replace(day=1), _last_of_month(day)
        case "quarter":
            first = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
            return first, _last_of_month(first.replace(month=first.month + 2))
    return day.replace(month=1, day=1), day.replace(month=12, day=31)


def _last_of_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
