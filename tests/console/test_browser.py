"""The ten things a person does first, in a real Chromium, against `consilium serve --demo` as `make run` starts it.

Skipped where no Chromium is installed. SCREENSHOTS=directory keeps pictures of every page at 1440 and 390 pixels.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from fpdf import FPDF
from playwright.sync_api import BrowserContext, Page, expect

from tests.console.chromium import required_or_skip
from tests.console.conftest import WAIT, WIDTHS
from tests.console.demo_server import demo_link
from tests.console.evaluation import REPORT

QUESTION = "Какая неустойка за просрочку поставки по договору?"
pytestmark = pytest.mark.timeout(300)
PAINTED = """(name) => {
  const probe = document.body.appendChild(document.createElement('i'));
  probe.style.color = `var(--${name})`;
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}"""
"""What the browser makes of one of the theme's colours."""
at_both_widths = pytest.mark.parametrize("width", list(WIDTHS))


@pytest.fixture(scope="module")
def evals_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server looks for the report of an evaluation."""
    return tmp_path_factory.mktemp("evals")


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory, evals_dir: Path) -> Iterator[str]:
    required_or_skip()
    with demo_link(tmp_path_factory.mktemp("console"), CONSILIUM_EVALS_DIR=str(evals_dir)) as printed:
        yield printed


def narrow(page: Page) -> bool:
    return page.viewport_size is not None and page.viewport_size["width"] < 1024


def go(page: Page, name: str, title: str | None = None) -> None:
    """Open a page by the menu; `title` is its heading, where it isn't the menu's word."""
    if narrow(page):
        page.get_by_role("button", name="Открыть меню").click()
    page.get_by_role("navigation", name="Главное меню").get_by_role("link", name=name, exact=True).click()
    expect(page.locator("h1")).to_have_text(title or name)


def ask(page: Page, question: str = QUESTION) -> None:
    page.locator(".composer textarea").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".source").first).to_be_visible(timeout=WAIT)


def keep(page: Page, name: str) -> None:
    """The page is no wider than the screen; and a picture of it, where pictures are wanted."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), "it scrolls sideways"
    if directory := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(400)  # what moves comes to rest; for the picture only
        width = page.viewport_size["width"] if page.viewport_size else 0
        page.screenshot(path=str(Path(directory) / f"{name}-{width}.png"))


@at_both_widths
def test_1_the_printed_link_signs_in_and_leaves_no_token_in_the_address(page: Page) -> None:
    assert "token" not in page.url
    assert page.url.endswith("/console/")
    keep(page, "welcome")


def test_2_a_bad_token_is_refused_in_words(context: BrowserContext, link: str) -> None:
    page = context.new_page()
    page.goto(link.partition("#")[0])
    page.get_by_label("Токен").fill("что-то не то")
    page.get_by_role("button", name="Войти").click()
    expect(page.get_by_role("alert")).to_contain_text("не похоже на токен")
    keep(page, "sign-in")


def test_the_printed_link_signs_in_where_the_page_that_asks_for_a_token_is_open(
    context: BrowserContext, link: str
) -> None:
    page = context.new_page()
    page.goto(link.partition("#")[0])
    expect(page.get_by_label("Токен")).to_be_visible()
    page.goto(link)  # it differs behind the '#' only: the browser loads nothing
    expect(page.locator(".composer textarea")).to_be_visible()
    assert "token" not in page.url


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_told_in_a_corner_can_be_read(page: Page, tmp_path: Path, theme: str) -> None:
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    file = tmp_path / "setup.exe"
    file.write_bytes(b"MZ")
    go(page, "Документы")
    page.locator("input[type=file]").first.set_input_files(file)
    told = page.locator(".q-notification")
    expect(told).to_contain_text("Файлы такого вида агенты не читают")
    paint = "one => getComputedStyle(one)"
    card, ink, bad = (page.evaluate(PAINTED, name) for name in ("card", "ink", "bad"))
    assert told.evaluate(f"{paint}.backgroundColor") == card
    assert told.locator(".q-notification__message").evaluate(f"{paint}.color") == ink
    assert told.locator(".q-icon").evaluate(f"{paint}.color") == bad


@at_both_widths
def test_3_a_question_is_answered_with_its_sources(page: Page) -> None:
    ask(page)
    expect(page.locator(".answer")).to_contain_text("0,1 %")
    expect(page.locator(".step.child")).to_be_visible()
    expect(page).to_have_url(re.compile("/console/chat/"))
    keep(page, "answer")
    page.locator(".step.child .q-item").first.click()
    keep(page, "specialist")


@at_both_widths
def test_4_a_source_opens_with_its_words_marked(page: Page) -> None:
    ask(page)
    page.locator(".answer a[href^='#source-']").first.click()
    expect(page.locator("#passage-mark")).to_contain_text("неустойку")
    expect(page.locator("#passage-mark")).to_be_in_viewport()
    keep(page, "passage")
    page.keyboard.press("Escape")
    expect(page.locator("#passage-mark")).to_have_count(0)


def test_5_an_answer_is_given_anew(page: Page) -> None:
    ask(page)
    page.get_by_role("button", name="Ответить заново").click()
    expect(page.locator(".source").first).to_be_visible()
    expect(page.locator(".turn")).to_have_count(1)


@at_both_widths
def test_6_a_file_is_dropped_in_and_asked_about(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "parking.md"
    file.write_text("# Парковка\n\nСтоимость парковки для сотрудников составляет 700 рублей в месяц.\n", "utf-8")
    go(page, "Документы")
    page.locator("input[type=file]").first.set_input_files(file)
    expect(page.locator(".item", has_text="parking").first).to_contain_text("готов", timeout=WAIT)
    keep(page, "documents")
    go(page, "Диалоги", "Новый диалог")
    ask(page, "Сколько стоит парковка для сотрудников?")
    expect(page.locator(".answer")).to_contain_text("700")


def test_a_pdf_is_dropped_in_and_its_page_is_cited(page: Page) -> None:
    fact = "The Polaris compressor carries a warranty of 48 months from the day of commissioning."
    pdf = FPDF()
    pdf.set_font("Helvetica", size=12)
    for text in ("Polaris data sheet. Colours and delivery times are agreed by letter.", fact):
        pdf.add_page()
        pdf.multi_cell(0, 6, text)
    go(page, "Документы")
    drop(page, "polaris.pdf", bytes(pdf.output()), "application/pdf")
    dropped = page.locator(".item", has_text="polaris").first
    expect(dropped).to_contain_text("готов")
    expect(dropped).to_contain_text("страниц: 2")
    go(page, "Диалоги", "Новый диалог")
    ask(page, "How long is the warranty of the Polaris compressor?")
    expect(page.locator(".answer")).to_contain_text("48 months")
    page.locator(".answer a[href^='#source-']").first.click()
    passage = page.get_by_role("dialog", name="Цитата в документе")
    expect(passage.locator("mark")).to_contain_text("warranty of 48 months")
    expect(passage.locator("mark")).to_be_in_viewport()
    expect(passage.locator(".passage-head")).to_contain_text("стр. 2")


def drop(page: Page, name: str, content: bytes, media_type: str) -> None:
    """Drag a file from outside the browser onto the page's upload, and let go of it there."""
    held = page.evaluate_handle(
        """([name, content, type]) => {
            const held = new DataTransfer();
            held.items.add(new File([Uint8Array.from(atob(content), (one) => one.charCodeAt(0))], name, {type}));
            return held;
        }""",
        [name, b64encode(content).decode(), media_type],
    )
    page.locator(".q-uploader").dispatch_event("dragover", {"dataTransfer": held})
    page.locator(".q-uploader__dnd").dispatch_event("drop", {"dataTransfer": held})


@at_both_widths
def test_7_a_conversation_is_renamed_and_found(page: Page) -> None:
    ask(page)
    if narrow(page):
        page.get_by_role("button", name="Открыть меню").click()
    page.locator(".thread.here .q-btn").click()
    page.get_by_text("Переименовать").click()
    page.get_by_label("Название", exact=True).fill("Неустойка по договору 17/24")
    page.get_by_role("button", name="Сохранить").click()
    page.get_by_label("Найти диалог").fill("17/24")
    expect(page.locator(".thread").first).to_contain_text("Неустойка по договору 17/24")
    keep(page, "conversations")


def test_8_a_fact_is_remembered(page: Page) -> None:
    go(page, "Память", "Память организации")
    fact = f"Ширина экрана в этой проверке {page.viewport_size}."
    page.get_by_label("Новый факт").fill(fact)
    page.get_by_role("button", name="Запомнить").click()
    expect(page.locator(".item", has_text=fact)).to_be_visible()
    keep(page, "notes")


@at_both_widths
def test_9_tools_models_and_usage_are_shown(page: Page) -> None:
    ask(page)
    go(page, "Инструменты")
    expect(page.get_by_text("Поиск по документам").first).to_be_visible()
    keep(page, "tools")
    go(page, "Модели")
    expect(page.get_by_text("extractive").first).to_be_visible()
    keep(page, "models")
    go(page, "Расход")
    expect(page.locator(".chart canvas")).to_be_visible()
    keep(page, "usage")


@at_both_widths
def test_10_the_graph_shows_the_way_of_an_answer(page: Page) -> None:
    ask(page)
    page.get_by_role("link", name="Путь в графе").click()
    expect(page.locator(".drawing .node.visited").first).to_be_visible()
    assert page.locator(".drawing .taken").count() >= 5
    page.locator(".way button").nth(2).click()
    expect(page.locator(".drawing .node.chosen")).to_have_count(1)
    keep(page, "graph")


@at_both_widths
def test_jobs_and_quality_are_shown(page: Page, evals_dir: Path) -> None:
    report = evals_dir / "report.json"
    ask(page)
    go(page, "Задания")
    expect(page.locator(".item", has_text="ответ агентов").first).to_contain_text("Какая неустойка")
    expect(page.locator(".item", has_text="чтение документа").first).to_be_visible()
    keep(page, "jobs")
    go(page, "Качество", "Качество ответов")
    expect(page.get_by_text("make eval", exact=True)).to_be_visible()
    keep(page, "quality-none")
    report.write_text(json.dumps(REPORT), "utf-8")
    page.reload()
    expect(page.locator(".evals-table")).to_contain_text("Верный специалист")
    page.locator(".step", has_text="r-2").click()
    expect(page.get_by_text("went to legal")).to_be_visible()
    keep(page, "quality")
    report.unlink()


def test_dark_and_english_are_a_choice_away(page: Page) -> None:
    page.get_by_role("button", name="Учётная запись").click()
    page.get_by_text("Тёмное").click()
    expect(page.locator("body")).to_have_class(re.compile("body--dark"))
    page.get_by_role("button", name="Учётная запись").click()
    page.get_by_text("English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    ask(page)
    keep(page, "dark")
    page.reload()
    expect(page.locator(".source").first).to_be_visible()


def test_a_skill_is_tried_and_changed(page: Page) -> None:
    go(page, "Навыки")
    page.get_by_role("link", name="Юрист").click()
    page.get_by_label("Напишите вопрос").fill(QUESTION)
    page.get_by_role("button", name="Спросить").click()
    expect(page.locator(".prose")).to_contain_text("0,1 %")
    page.get_by_label("Название по-русски").fill("Юрисконсульт")
    page.get_by_role("button", name="Сохранить").click()
    page.get_by_role("dialog").get_by_role("button", name="Сохранить").click()
    expect(page.locator("h1")).to_have_text("Юрисконсульт")
    keep(page, "skill")


def test_an_mcp_server_that_cannot_be_reached_says_so(page: Page) -> None:
    go(page, "Инструменты")
    page.get_by_role("button", name="Добавить сервер").click()
    page.get_by_label("Имя").fill("tracker")
    page.get_by_label("Адрес").fill("https://mcp.invalid/mcp")
    page.get_by_role("button", name="Подключить").click()
    expect(page.locator(".card", has_text="tracker")).to_contain_text("не отвечает")
    keep(page, "mcp")


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    field = page.locator(".composer textarea")
    expect(field).to_be_focused()
    page.keyboard.type("первая")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("вторая")
    expect(field).to_have_value("первая\nвторая")
    page.keyboard.press("Enter")
    expect(page.locator(".question")).to_have_text("первая\nвторая")
    expect(field).to_have_value("")
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Сочетания клавиш")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Сочетания клавиш")).to_have_count(0)
    page.keyboard.press("/")
    expect(page.locator(".composer textarea")).to_be_focused()
