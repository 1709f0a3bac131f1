"""What can be said of the look without a screen: every text is there in both languages, letters stand out from their ground."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from console.texts import TEXTS, chosen_language, moment, number, size

CONSOLE = Path(__file__).resolve().parents[2] / "console"
PAIRS = [
    ("ink", "page"), ("ink", "side"), ("ink", "card"), ("ink", "raise"), ("ink", "mark"), ("ink-2", "page"), ("ink-2", "side"),
    ("ink-2", "raise"), ("ink-2", "card"), ("ink-3", "page"), ("ink-3", "side"), ("ink-3", "card"), ("accent", "page"),
    ("accent", "accent-soft"), ("accent-ink", "accent"), ("good", "good-soft"), ("bad", "bad-soft"), ("warn", "warn-soft"),
]  # fmt: skip


def tokens(selector: str) -> dict[str, str]:
    sheet = (CONSOLE / "console.css").read_text("utf-8")
    block = sheet.partition(f"{selector} {{")[2].partition("}")[0]
    return dict(re.findall(r"--([a-z0-9-]+):\s*(#[0-9a-f]{6})", block))


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [":root", "body.body--dark"])
@pytest.mark.parametrize(("letters", "ground"), PAIRS)
def test_letters_stand_out_as_wcag_aa_asks(theme: str, letters: str, ground: str) -> None:
    colours = tokens(theme)
    one, other = sorted((luminance(colours[letters]), luminance(colours[ground])), reverse=True)
    assert (one + 0.05) / (other + 0.05) >= 4.5


def test_every_text_is_there_and_takes_the_same_values_in_both_languages() -> None:
    for key, (russian, english) in TEXTS.items():
        assert russian.strip(), key
        assert english.strip(), key
        places = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in (russian, english)]
        assert places[0] == places[1], key


def test_every_text_that_is_asked_for_exists_and_none_is_left_over() -> None:
    code = "\n".join(path.read_text("utf-8") for path in CONSOLE.glob("*.py") if path.name != "texts.py")
    asked = set(re.findall(r"""\bt\(\s*["']([a-z_.0-9]+)["']""", code))
    assert asked <= TEXTS.keys(), asked - TEXTS.keys()
    families = tuple(re.findall(r"\bf\"([a-z_.]+\.)\{", code))
    left = {key for key in TEXTS if f'"{key}"' not in code and f"'{key}'" not in code and not key.startswith(families)}
    assert not left


def test_no_russian_or_english_sentence_is_outside_the_texts() -> None:
    for path in CONSOLE.glob("*.py"):
        if path.name not in ("texts.py", "frame.py", "sign_in.py"):
            assert not re.search("[А-Яа-яё]", path.read_text("utf-8")), path.name


def test_numbers_sizes_and_times_are_written_as_the_language_does() -> None:
    assert (number(1234567, "en"), number(1234567, "ru")) == ("1,234,567", "1\u00a0234\u00a0567")
    assert (size(26_214_400, "en"), size(1338, "ru")) == ("25\u00a0MB", "1,3\u00a0КБ")
    assert moment("2020-02-03T10:00:00Z", "ru") == "03.02.2020"
    assert moment(None, "en") == ""
    assert [chosen_language(given) for given in ("ru-RU,ru;q=0.9", "de,en;q=0.5", "", "fr")] == ["ru", "en", "en", "en"]
