"""The analyser: what must match across languages and endings, and from several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.analyse import analyse


def test_terms_of_both_languages() -> None:
    assert analyse("The contracts and ПОСТАВКА") == ["contract", "поставк", "~поста"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("неустойка", "неустойки"),
        ("договор", "договорами"),
        ("ёлка", "елка"),
        ("payments", "payment"),
        ("просрочку", "ПРОСРОЧКА"),
    ],
)
def test_forms_of_a_word_share_a_term(one: str, other: str) -> None:
    assert set(analyse(one)) & set(analyse(other))


@pytest.mark.parametrize("text", ["", "и на по the of", "!!! — ..."])
def test_nothing_to_search_by(text: str) -> None:
    assert analyse(text) == []


def test_repeats_are_kept() -> None:
    assert analyse("кот, кот и кот") == ["кот"] * 3


def test_threads_agree() -> None:
    words = [f"договорами{n} contracts{n}" for n in range(3000)]
    alone = [analyse(word) for word in words]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(analyse, words)) == alone


@given(st.text())
def test_any_text_gives_terms_without_spaces(text: str) -> None:
    assert all(term and not any(char.isspace() for char in term) for term in analyse(text))
