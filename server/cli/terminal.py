"""What all commands share about the terminal: failures, colours, the language of the labels."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import click


class Failure(click.ClickException):
    """A failure as one line on stderr, and exit code 1: `error CODE: MESSAGE (trace TRACE_ID)`."""

    def __init__(self, code: str, message: str, trace_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.trace_id = trace_id

    def show(self, file: IO[Any] | None = None) -> None:
        trace = f" (trace {self.trace_id})" if self.trace_id else ""
        click.echo(f"error {self.code}: {self.message}{trace}", file=file or sys.stderr)


def failure_of(body: object, fallback: str) -> Failure:
    """The failure an error body of the API (or the data of an `error` event) tells of."""
    if not isinstance(body, Mapping):
        return Failure("error", fallback)
    code = body.get("error_code") or body.get("error") or "error"
    return Failure(str(code), str(body.get("message") or fallback), body.get("trace_id"))


@dataclass(frozen=True, slots=True)
class Words:
    """The labels of `ask`, `decide` and `documents`, in one language."""

    page: str
    section: str
    characters: str
    sources: str
    continue_with: str
    tokens: str
    offline: str
    decide_with: str
    decision: str
    reason: str
    arguments: str
    no_json: str


ENGLISH = Words(
    page="page",
    section="section",
    characters="characters",
    sources="Sources",
    continue_with="To continue",
    tokens="tokens",
    offline="answered offline from the documents, without a language model",
    decide_with="This waits for a decision",
    decision="Approve, edit or reject",
    reason="Why not (may be empty)",
    arguments="Arguments (JSON)",
    no_json="a JSON object is wanted",
)
RUSSIAN = Words(
    page="страница",
    section="раздел",
    characters="символы",
    sources="Источники",
    continue_with="Продолжить",
    tokens="токенов",
    offline="ответ составлен без языковой модели, цитатами из документов",
    decide_with="Это ждёт решения",
    decision="Разрешить (approve), изменить (edit) или отклонить (reject)",
    reason="Почему нет (можно не указывать)",
    arguments="Аргументы (JSON)",
    no_json="нужен объект JSON",
)


def words_for(question: str | None, environ: Mapping[str, str] = os.environ) -> Words:
    """Russian for a question in Cyrillic or, without a question, a Russian locale; else English."""
    if question and any(letter.isalpha() for letter in question):
        cyrillic = sum("а" <= letter.lower() <= "я" or letter.lower() == "ё" for letter in question)
        return RUSSIAN if cyrillic * 2 >= sum(letter.isalpha() for letter in question) else ENGLISH
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return RUSSIAN if locale.startswith("ru") else ENGLISH


def clean(text: str) -> str:
    """`text` without control characters: what a model, a tool or a document says must not drive the terminal."""
    return "".join(letter for letter in text if letter in "\n\t" or (letter.isprintable()))
