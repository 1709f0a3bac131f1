"""What the API says is wrong, in the visitor's words: the field, and how to mend it. Its own English is kept beside.

The API writes a sentence for whoever calls it. What the console's own forms can meet has words here, found by what the sentence says;
any other sentence is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from console.api import ApiError
from console.naming import field_label
from console.texts import TEXTS, Language, Words, size

_Rule = tuple[re.Pattern[str], str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """`problem` is what is wrong and how to mend it, `field` what people call the field; None where none is named or known.
    `original` is the API's sentence; None where it is shown itself."""

    problem: str
    field: str | None = None
    original: str | None = None

    def sentence(self, t: Words) -> str:
        """Field and problem."""
        if self.original is None:
            return self.problem
        if self.field is None:
            return self.problem[:1].upper() + self.problem[1:]
        return t("refused.at", field=self.field, problem=self.problem)


def _rules(*pairs: tuple[str, str]) -> tuple[_Rule, ...]:
    return tuple((re.compile(pattern, re.S), key) for pattern, key in pairs)


# What pydantic, a tool's JSON Schema and the API's own checks say; the first that fits. Named groups fill the words' places.
_PROBLEMS: Final = _rules(
    (r"^Field required|^is required|is a required property$", "required"),
    (r"can't be set$|must be printable ASCII", "header"),
    (r"^String should have at least (?P<n>1) char|should be non-empty$|^'' is too short", "required"),
    (r"^String should have at least (?P<n>\d+) char", "least_chars"),
    (r"^String should have at most (?P<n>\d+) char|at most (?P<n2>\d+) characters", "most_chars"),
    (r"[Gg]reater than or equal to (?P<n>[-\d.]+)|is less than the minimum of (?P<n2>[-\d.]+)", "least"),
    (r"less than or equal to (?P<n>[-\d.]+)|is greater than the maximum of (?P<n2>[-\d.]+)", "most"),
    (r"^Input should be greater than (?P<n>[-\d.]+)", "more"),
    (r"^Input should be less than (?P<n>[-\d.]+)", "less"),
    (r"^(?:List|Tuple|Dictionary) should have at most (?P<n>\d+) item", "most_items"),
    (r"valid integer|is not of type 'integer'", "integer"),
    (r"valid number|is not of type 'number'", "number"),
    (r"valid boolean|is not of type 'boolean'", "boolean"),
    (r"valid string|is not of type 'string'", "text"),
    (r"^'(?P<name>[^']*)' is taken by the service", "reserved"),
    (r"does not match '\^\\\\d\{4\}|does not match '\^\\d\{4\}", "date"),
    (r"is not one of \[(?P<names>.*?)\]|^must be one of (?P<names2>.*?)$", "one_of"),
    (r"^Input should be (?P<names>'.*)$", "one_of"),
    (r"^(?P<names>'[^']*') is not allowed here", "extra"),
    (
        r"^Extra inputs are not permitted|^Additional properties are not allowed \((?P<names>.*?) w",
        "extra",
    ),
    (r"^there is no (?:tool|MCP server|agent) (?P<names>.*?)(?:; there are|$)", "unknown"),
    (r"^must be an address with http|needs a `url`", "url"),
    (r"^must not hold a password", "url_password"),
    (r"^is (?:a private or loopback|in no network that)", "private"),
    (r"^is too much: the descriptions .* more than (?P<n>\d+)", "descriptions"),
    (r"^String should match pattern '\^\[a-z|^must match \^?\[a-z", "name"),
    (r"^String should match pattern|does not match '", "form"),
)
_MESSAGES: Final = _rules(
    (r"^There is a skill '(?P<name>[^']*)'", "skill_exists"),
    (r"^The operator has a server named '(?P<name>[^']*)'|^The organisation already has a server '(?P<name2>[^']*)'", "taken"),
    (r"unfinished run|is busy: wait", "busy"),
    (r"only one that failed is read again", "not_failed"),
    (r"^The file is empty", "empty"),
    (r"encrypted", "encrypted"),
    (r"has no text|no text layer|scan", "no_text"),
    (r"is not a (?:PDF|DOCX)|damaged|is not text|can't be read|could not be read", "damaged"),
    (r"too much to read|too (?:long|many)|more than \d+ characters|at most \d+ are read", "too_long"),
)  # fmt: skip
_CODES: Final[Mapping[str, str]] = {
    "unsupported": "file_kind",
    "timeout": "deadline",
    "deadline": "deadline",
    "provider_error": "models",
    "provider_unavailable": "models",
    "provider_rejected": "models",
    "provider_rate_limited": "models",
    "provider_busy": "models",
    "no_provider": "models",
    "circuit_open": "models",
    "quota_exceeded": "quota",
    "run_cancelled": "stopped",
    "effect_unknown": "effect",
    "tool_error": "tool",
    "tool_timeout": "tool",
    "tool_unavailable": "tool",
    "tool_rejected": "tool",
    "document_unreadable": "damaged",
    "internal_error": "fault",
    "error": "fault",
}
"""What is said of a failure whose sentence no rule fits."""


def refusal(error: ApiError, t: Words, language: Language, *, tools: Sequence[str] = ()) -> Refusal:
    """What is wrong with what was sent. `tools` are those whose arguments were, in order."""
    path, problem = _named(error)
    if error.code == "too_large" and error.details.get("unit") == "bytes":
        return _worded(
            "most_bytes", {"size": size(int(error.details["limit"]), language)}, None, error.message, t, language
        )
    if error.status == 422 and (found := _found(_PROBLEMS, problem)):
        key, places = found
        return _worded(key, places, _label(path, t, tools), error.message, t, language)
    return failure(error.code, error.message, t, language)


def failure(code: str, message: str | None, t: Words, language: Language, *, reason: str | None = None) -> Refusal:
    """Why something that was begun has failed. `reason` is what is wrong with a file, where that is known."""
    if f"unreadable.{reason}" in TEXTS:
        return Refusal(t(f"unreadable.{reason}"), None, message)
    found = _found(_MESSAGES, message or "")
    if found is None and code in _CODES:
        found = _CODES[code], {}
    if found is None:
        return Refusal(message or code)
    return _worded(*found, None, message, t, language)


def _worded(
    key: str, places: Mapping[str, str], field: str | None, original: str | None, t: Words, language: Language
) -> Refusal:
    # In English the API's own sentence tells as much, and is right of more cases.
    if language == "en" and original:
        return Refusal(original)
    return Refusal(t(f"refused.{key}", **places), field, original)


def _found(rules: tuple[_Rule, ...], problem: str) -> tuple[str, dict[str, str]] | None:
    for pattern, key in rules:
        if (hit := pattern.search(problem)) is not None:
            given = {name.rstrip("2"): value.strip() for name, value in hit.groupdict().items() if value}
            return key, {"names": "", **given}
    return None


def _named(error: ApiError) -> tuple[str, str]:
    """The first field that is wrong, as a dotted path, and what is wrong with it."""
    path = str(error.details.get("field") or "")
    problems: Any = error.details.get("problems")
    if isinstance(problems, list) and problems:
        return str(problems[0].get("field") or path), str(problems[0].get("problem") or "")
    problem = error.message.removeprefix(f"{path}: ") if path else error.message
    # Of a tool's arguments the sentence goes on with the tool, the argument and what models are to do about it.
    inner = re.search(r"^\S+: [\w.]+: (.*?)(?:; |\. Call it again)", problem, re.S)
    return path, inner[1] if inner else problem


def _label(path: str, t: Words, tools: Sequence[str]) -> str | None:
    if (decided := re.search(r"decisions\[(\d+)\]\.edited_action\.args\.(\w+)", path)) is not None:
        at, argument = int(decided[1]), decided[2]
        return field_label(tools[at], argument, t) if at < len(tools) else argument
    parts = re.split(r"[.\[\]]+", path)
    key = next((f"named.{part}" for part in reversed(parts) if f"named.{part}" in TEXTS), None)
    return t(key) if key is not None else None
