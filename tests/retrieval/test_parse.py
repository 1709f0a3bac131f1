"""Files to text: pages, headings, encodings, and the reasons why a file can't be read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
import pytest
from fpdf import FPDF

from domain.errors import DocumentUnreadable, Unsupported
from domain.knowledge import ParsedDocument
from retrieval import pdf as pdf_reader
from retrieval.outline import MAX_TEXT_CHARACTERS
from retrieval.parse import parse

DEMO = Path(__file__).resolve().parents[2] / "demo" / "documents"


def sections(document: ParsedDocument) -> list[str | None]:
    return [span.section for span in document.spans]


def under(document: ParsedDocument, section: str) -> str:
    return "".join(document.text[s.start : s.end] for s in document.spans if s.section == section)


def make_docx(fill: Callable[[docx.document.Document], None]) -> bytes:
    document = docx.Document()
    fill(document)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def make_pdf(*pages: str, password: str | None = None) -> bytes:
    pdf = FPDF()
    pdf.set_font("Helvetica", size=12)
    for page in pages:
        pdf.add_page()
        pdf.multi_cell(0, 6, page)
    if password:
        pdf.set_encryption(owner_password="owner", user_password=password)
    return bytes(pdf.output())


@pytest.mark.parametrize(
    "data",
    [
        "Договор №1".encode(),
        b"\xef\xbb\xbf" + "Договор №1".encode(),
        b"\xff\xfe" + "Договор №1".encode("utf-16-le"),
        b"\xfe\xff" + "Договор №1".encode("utf-16-be"),
        "Договор №1".encode("cp1251"),
    ],
    ids=["utf-8", "bom", "utf-16-le", "utf-16-be", "cp1251"],
)
def test_encodings(data: bytes) -> None:
    document = parse("a.txt", "", data)
    assert document.text == "Договор №1"
    assert document.pages is None


def test_what_a_database_cannot_hold_is_removed() -> None:
    assert parse("a.txt", "", "a\x00b\r\nй".encode()).text == "ab\nй"


def test_markdown_sections() -> None:
    text = "intro\n# Договор\nодин\n## Сроки **точные**\nдва\n```\n# not a heading\n```\n# Итог\nтри\n"
    document = parse("a.md", "", text.encode())
    assert sections(document) == [None, "Договор", "Договор › Сроки точные", "Итог"]
    assert document.text == text
    assert "# not a heading" in under(document, "Договор › Сроки точные")


def test_underlined_markdown_headings() -> None:
    document = parse("a.md", "", b"Title\n=====\none\n\nPart\n----\ntwo\n")
    assert sections(document) == ["Title", "Title › Part"]


def test_html() -> None:
    page = """<html><head><title>T</title><style>p{}</style></head><body><h1>Прайс</h1>
    <p>Цена <b>10</b>&nbsp;руб.</p>
    <script>alert(1)</script><h2>Скидки</h2><ul><li>5&nbsp;%<li>10 %</ul>
    <table><tr><td>a<td>b</tr></table></body></html>"""
    document = parse("a.html", "text/html", page.encode())
    assert sections(document) == ["Прайс", "Прайс › Скидки"]
    assert "Цена 10 руб." in document.text
    assert "- 5 %\n- 10 %\na | b\n" in document.text
    assert "alert" not in document.text
    assert "p{}" not in document.text


def test_html_with_a_declared_encoding() -> None:
    assert "Цена" in parse("a.html", "", '<meta charset="windows-1251"><p>Цена</p>'.encode("cp1251")).text


def test_csv_rows_name_their_columns() -> None:
    document = parse("a.csv", "", "Товар;Цена\nБриз;98000\nШквал;120000\n".encode())
    assert document.text == "Товар: Бриз; Цена: 98000\nТовар: Шквал; Цена: 120000\n"


def test_docx_headings_and_tables() -> None:
    def fill(document: docx.document.Document) -> None:
        document.add_heading("Agreement", 0)
        document.add_heading("Fees", 1)
        document.add_paragraph("The fee is EUR 10.")
        table = document.add_table(rows=1, cols=2)
        table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Unit", "237 000"
        document.add_heading("Term", 1)
        document.add_paragraph("One year.")

    document = parse("a.docx", "", make_docx(fill))
    assert sections(document) == ["Agreement", "Agreement › Fees", "Agreement › Term"]
    assert under(document, "Agreement › Fees") == "Fees\nThe fee is EUR 10.\nUnit | 237 000\n"


def test_pdf_pages_and_bookmarks() -> None:
    document = parse("d.pdf", "", (DEMO / "dogovor-postavki-17-24.pdf").read_bytes())
    assert document.pages == 4
    at = document.text.index("7.2. За просрочку поставки")
    (span,) = [span for span in document.spans if span.start <= at < span.end]
    assert span.page == 3
    assert span.section is not None
    assert span.section.endswith("› 7. ОТВЕТСТВЕННОСТЬ СТОРОН")
    sentence = (
        "7.2. За просрочку поставки товара Поставщик уплачивает Покупателю неустойку в размере 0,1 % от стоимости "
        "непоставленного товара за каждый день просрочки, но не более 10 % от стоимости партии."
    )
    assert sentence in document.text


def test_every_character_of_a_pdf_page_is_in_one_span() -> None:
    document = parse("d.pdf", "", make_pdf("one", "two", "three"))
    assert [span.page for span in document.spans] == [1, 2, 3]
    assert [span.start for span in document.spans[1:]] == [span.end for span in document.spans[:-1]]


def zip_bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", b"0" * (60 * 2**20))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\t ", "empty"),
        ("a.txt", bytes(range(32)) * 40 + b"\xff\xfe\x80", "not text"),
        ("a.md", b"x" * (MAX_TEXT_CHARACTERS + 1), "more than"),
        ("a.pdf", b"hello", "not a PDF"),
        ("a.pdf", b"%PDF-1.7\nbroken", "damaged"),
        ("a.docx", b"hello", "not a DOCX"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"0" * 600, "encrypted"),
        ("a.docx", zip_bomb(), "unpacks"),
        ("a.html", b"<script>1</script>", "empty"),
    ],
)
def test_unreadable_files_say_why(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(DocumentUnreadable, match=reason):
        parse(name, "", data)


def test_an_encrypted_pdf() -> None:
    with pytest.raises(DocumentUnreadable, match="encrypted"):
        parse("a.pdf", "", make_pdf("secret", password="p"))


def test_a_scan_without_text() -> None:
    with pytest.raises(DocumentUnreadable, match="OCR"):
        parse("a.pdf", "", make_pdf(""))


def test_too_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_reader, "MAX_PAGES", 2)
    with pytest.raises(DocumentUnreadable, match="3 pages"):
        parse("a.pdf", "", make_pdf("1", "2", "3"))


def test_a_docx_without_its_document() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("hello.txt", "x")
    with pytest.raises(DocumentUnreadable, match="not a DOCX"):
        parse("a.docx", "", out.getvalue())


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("a.exe", ""), ("a.xlsx", "text/plain"), ("a", "image/png"), ("a.doc", "application/msword")],
)
def test_unsupported_files_list_what_is_supported(name: str, media_type: str) -> None:
    with pytest.raises(Unsupported) as refused:
        parse(name, media_type, b"x")
    assert "docx" in refused.value.details["supported"]


def test_the_media_type_decides_where_the_name_does_not() -> None:
    assert sections(parse("upload", "text/markdown; charset=utf-8", b"# A\nb")) == ["A"]
