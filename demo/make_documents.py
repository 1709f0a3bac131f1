"""Remakes the PDF and DOCX files of demo/documents from demo/sources; the results are committed.

Needs fpdf2 and the DejaVu fonts.

python demo/make_documents.py [--fonts DIRECTORY]
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from docx import Document
from fpdf import FPDF

HOME = Path(__file__).resolve().parent
MADE = datetime(2026, 5, 15, tzinfo=UTC)
PDF = ("dogovor-postavki-17-24", "spring-campaign-report")
DOCX = ("services-agreement-helios", "soglashenie-o-konfidencialnosti")


def paragraphs(source: Path) -> list[tuple[int, str]]:
    """(heading level or 0, text) of each paragraph."""
    found = []
    for block in source.read_text("utf-8").split("\n\n"):
        text = " ".join(block.split())
        level = len(text) - len(text.lstrip("#"))
        if text:
            found.append((level, text.lstrip("# ")))
    return found


class Report(FPDF):
    """A4 with page numbers."""

    def footer(self) -> None:
        self.set_y(-15)
        self.set_font("DejaVu", size=8)
        self.cell(0, 8, str(self.page_no()), align="C")


def make_pdf(source: Path, target: Path, fonts: Path) -> None:
    pdf = Report()
    pdf.add_font("DejaVu", fname=fonts / "DejaVuSans.ttf")
    pdf.add_font("DejaVu", style="B", fname=fonts / "DejaVuSans-Bold.ttf")
    pdf.set_creation_date(MADE)
    pdf.set_margin(22)
    pdf.set_auto_page_break(True, margin=24)
    pdf.add_page()
    for level, text in paragraphs(source):
        if level:
            pdf.set_font("DejaVu", style="B", size=15 if level == 1 else 12)
            pdf.ln(3)
            if pdf.will_page_break(24):
                pdf.add_page()
            pdf.start_section(text, level=level - 1)
        else:
            pdf.set_font("DejaVu", size=11)
        pdf.multi_cell(0, 6.5, text, new_x="LMARGIN", new_y="NEXT")
        pdf.ln(2)
    pdf.output(str(target))


def make_docx(source: Path, target: Path) -> None:
    document = Document()
    document.core_properties.created = document.core_properties.modified = MADE
    for level, text in paragraphs(source):
        if level:
            document.add_heading(text, level=level - 1)
        else:
            document.add_paragraph(text)
    document.save(str(target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts/truetype/dejavu"))
    given = parser.parse_args()
    for name in PDF:
        make_pdf(HOME / "sources" / f"{name}.md", HOME / "documents" / f"{name}.pdf", given.fonts)
    for name in DOCX:
        make_docx(HOME / "sources" / f"{name}.md", HOME / "documents" / f"{name}.docx")


if __name__ == "__main__":
    main()
