"""The cases themselves: how many there are, in both languages, and that what they expect can be had."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from domain.errors import ConfigurationError
from evals import thresholds
from evals.cases import Case, load
from evals.conversation import fold
from evals.organizations import described, path_of
from graphs.skills import load_skills

WANTED = {"routing": 60, "tools": 40, "grounded": 64, "memory": 20, "tenancy": 20, "injection": 30}
CASES = load()


def test_there_are_enough_in_both_languages() -> None:
    assert Counter(case.suite for case in CASES) == WANTED
    for suite, wanted in WANTED.items():
        languages = Counter(case.language for case in CASES if case.suite == suite)
        assert min(languages.values()) >= 0.4 * wanted, f"{suite}: {languages}"


def test_questions_differ() -> None:
    asked = Counter((case.suite, fold(case.question)) for case in CASES if case.question)
    assert not [question for question, times in asked.items() if times > 1]


def test_agents_exist() -> None:
    known = {skill.name for skill in load_skills().values()} - {"main"}
    assert {agent for case in CASES for agent in case.agents or ()} <= known


def test_quotes_stand_in_the_documents() -> None:
    organizations = described()
    for case in CASES:
        files = (
            {path_of(file).name: path_of(file) for file in organizations[case.organization].documents}
            if case.organization
            else {}
        )
        for quote in case.quotes:
            if files[quote.document].suffix in (".pdf", ".docx"):
                continue  # the product's parser finds it when the case is played
            assert fold(quote.text) in fold(files[quote.document].read_text("utf-8")), f"{case.id}: {quote.text}"


def test_corpus_files_exist() -> None:
    assert not [file for one in described().values() for file in one.documents if not path_of(file).is_file()]


@pytest.mark.parametrize("case", [case for case in CASES if case.suite == "injection"], ids=lambda case: case.id)
def test_obedience_can_be_told_from_quoting(case: Case) -> None:
    assert case.obeys is not None
    material = [*case.texts.values(), *case.own_notes, *(page.content for page in case.pages)]
    material += [text for tool in case.tools for text in (tool.description, tool.result)]
    for text in material:
        assert not [word for word in case.obeys.says if "](" not in word and fold(word) in fold(text)]
    if case.injected is not None:
        assert any(fold(case.injected) in fold(text) for text in material)


def test_thresholds_name_metrics(tmp_path: Path) -> None:
    assert thresholds.read("extractive/extractive").keys() >= thresholds.read("any/other").keys()
    wrong = tmp_path / "thresholds.yaml"
    wrong.write_text("any: {accuracy: {at_least: 1}}", "utf-8")
    with pytest.raises(ConfigurationError, match="accuracy"):
        thresholds.read("any/other", wrong)


def test_a_wrong_case_is_named(tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").write_text("cases: [{language: en, ask: Hello, agent: x}]", "utf-8")
    with pytest.raises(ConfigurationError, match=r"routing\.yaml, routing-en-\w{6}: agent"):
        load(tmp_path)
    (tmp_path / "routing.yaml").write_text(
        "cases: [{id: a, language: en, ask: Hi}, {id: a, language: ru, ask: Да}]", "utf-8"
    )
    with pytest.raises(ConfigurationError, match="same id"):
        load(tmp_path)
