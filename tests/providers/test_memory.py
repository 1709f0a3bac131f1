"""What memory is left, as the machine and the container tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from providers import memory

MACHINE = "MemTotal:       8000000 kB\nMemAvailable:   4000000 kB\n"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files are that tell."""
    monkeypatch.setattr(memory, "_MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    return tmp_path


def test_the_smaller_limit_counts(system: Path) -> None:
    assert memory.available_bytes() is None
    (system / "meminfo").write_text(MACHINE)
    assert memory.available_bytes() == 4_096_000_000
    (system / "memory.current").write_text("900\n")
    (system / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    (system / "memory.max").write_text("max\n")
    assert memory.available_bytes() == 4_096_000_000
    (system / "memory.max").write_text("1000\n")
    # what is cached of files is given back when it is needed
    assert memory.available_bytes() == 400


def test_what_cannot_be_read_is_unknown(system: Path) -> None:
    (system / "meminfo").write_text("nothing\n")
    assert memory.available_bytes() is None
