"""Cases as they stand in evals/cases/*.yaml: what is asked, of whom, and what is expected."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.errors import ConfigurationError

FOLDER = Path(__file__).resolve().parent / "cases"

Needs = Literal["web_search", "mcp"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Request(_Model):
    """A bare HTTP request. `path` and `json` may name what earlier steps made: `{thread.NAME}`, `{run.NAME}`,
    `{document.ORGANIZATION.FILE}`, `{note.ORGANIZATION}`."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: str
    json_body: dict[str, Any] | None = Field(None, alias="json")
    status: tuple[int, ...] = (404,)
    """The answers that are in order."""


class Step(_Model):
    """A question in a conversation, or a bare request; by whom. `thread` names a conversation within the case."""

    ask: str | None = None
    request: Request | None = None
    thread: str = "first"
    organization: str | None = None
    user: str = "ann"
    assistant: str = "supervisor"
    context: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one(self) -> Step:
        if (self.ask is None) == (self.request is None):
            raise ValueError("a step is either `ask` or `request`")
        return self


class Quote(_Model):
    """Words of a document, verbatim but for white space, that answer the question. `document` is the file's name."""

    document: str
    text: str


class Call(_Model):
    """A tool call. Of each argument that is named the value holds one of the alternatives of every item."""

    name: str
    arguments: dict[str, tuple[str | tuple[str, ...], ...]] = {}


class Page(_Model):
    """What the stand-in for a web search finds."""

    title: str
    url: str
    content: str


class RemoteTool(_Model):
    """A tool of the MCP server that is started for the case. `result` is its answer."""

    name: str
    description: str
    result: str = "ok"


class Signs(_Model):
    """By which obedience shows: words outside quotations that only the injected text asked for, calls, notes."""

    says: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()


class Case(_Model):
    """One case. Expectations that are None or empty aren't judged.

    `answer` has strings, or lists of alternatives, that the last answer must hold; `quotes` the spans to cite; `refuses`
    whether it should say that there is no answer; `agents` whom the supervisor hands the last question to; `calls` and
    `no_calls` concern the last question, specialists included; `notes` are what the organisation's notes must hold
    afterwards, `no_notes` what they must not, `note_count` how many there are; `hidden` must not be seen by the case's own
    organisation.
    """

    id: str
    suite: str
    language: Literal["en", "ru"]
    organization: str | None = None
    """One of evals/corpus/organizations.yaml; without it the case has one of its own with `documents` and `own_notes`."""
    documents: tuple[str, ...] = ()
    texts: dict[str, str] = {}
    """Further documents of the case's own organisation: file name to content."""
    own_notes: tuple[str, ...] = ()
    needs: Needs | None = None
    pages: tuple[Page, ...] = ()
    tools: tuple[RemoteTool, ...] = ()
    steps: tuple[Step, ...]
    agents: frozenset[str] | None = None
    calls: tuple[Call, ...] = ()
    no_calls: tuple[str, ...] = ()
    answer: tuple[str | tuple[str, ...], ...] = ()
    quotes: tuple[Quote, ...] = ()
    refuses: bool | None = None
    notes: tuple[str, ...] = ()
    no_notes: tuple[str, ...] = ()
    note_count: int | None = None
    hidden: tuple[str, ...] = ()
    obeys: Signs | None = None
    injected: str | None = None
    """Words of the injected text, to see whether it came before the model at all."""

    @property
    def question(self) -> str:
        """The last question; empty where the case only makes requests."""
        return next((step.ask for step in reversed(self.steps) if step.ask is not None), "")


def load(folder: Path = FOLDER, *, only: str = "") -> list[Case]:
    """The cases of a folder whose id begins with `only`. Raises ConfigurationError naming the file and the case.

    A case without an `id` is called by suite, language and a hash of its steps: it keeps its name when others come or go.
    """
    cases: list[Case] = []
    for file in sorted(folder.glob("*.yaml")):
        content = yaml.safe_load(file.read_text("utf-8"))
        defaults = content.get("defaults", {})
        cases += [_case(file, {"suite": file.stem, **defaults, **raw}) for raw in content["cases"]]
    twice = [name for name, times in Counter(case.id for case in cases).items() if times > 1]
    if twice:
        raise ConfigurationError(f"Cases of the same id: {', '.join(twice)}", cases=twice)
    return [case for case in cases if case.id.startswith(only)]


def _case(file: Path, raw: dict[str, Any]) -> Case:
    if "ask" in raw:
        asked = raw.pop("ask")
        raw["steps"] = [{"ask": text} for text in ([asked] if isinstance(asked, str) else asked)]
    raw.setdefault("id", f"{raw['suite']}-{raw.get('language', '')}-{_digest(raw.get('steps'))}")
    try:
        return Case.model_validate(raw)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{file.name}, {raw['id']}: {place}: {first['msg']}", case=raw["id"]) from wrong


def _digest(steps: Any) -> str:
    return hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()[:6]
