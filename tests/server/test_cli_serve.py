"""`make run` from the terminal's side: what it prints works when pasted, and Ctrl-C ends it quietly."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "Какая неустойка за просрочку поставки по договору?"


@dataclass
class Demo:
    """A running `consilium serve --demo`."""

    process: subprocess.Popen[str]
    data_dir: Path
    printed: list[str]
    environ: dict[str, str]

    def pasted(self, start: str) -> str:
        """The printed line that begins with this."""
        return next(line.strip() for line in self.printed if line.strip().startswith(start))


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    data_dir = tmp_path / "data"
    providers = ("OPENAI_", "OPENROUTER_", "DEEPSEEK_", "GEMINI_", "MOONSHOT_", "OLLAMA_", "CONSILIUM_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(providers)}
    environ |= {"CONSILIUM_DATA_DIR": str(data_dir), "CONSILIUM_PYTHON": sys.executable, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [ROOT / "bin" / "consilium", "serve", "--demo", "--port", "0"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed: list[str] = []
    try:
        for line in process.stdout:
            printed.append(line)
            if line.startswith("Ctrl-C"):
                break
        yield Demo(process, data_dir, printed, environ)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_what_it_prints_can_be_pasted_and_ctrl_c_ends_it_quietly(demo: Demo) -> None:
    assert demo.process.poll() is None, "".join(demo.printed)
    saved = demo.data_dir / "local.json"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600

    asking = next(shlex.split(line) for line in demo.printed if " ask " in line)
    assert asking[-2:] == ["ask", QUESTION]
    asked = subprocess.run(
        [ROOT / "bin" / "consilium", *asking[1:]],
        env=demo.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert asked.returncode == 0, asked.stderr
    assert "неустойку в размере 0,1 %" in asked.stdout
    assert "[1] Договор поставки № 17/24 · страница " in asked.stdout

    curl = shlex.split(demo.pasted("curl "))
    if shutil.which("curl"):
        answered = subprocess.run(curl, capture_output=True, text=True, check=False, timeout=60)
        assert "неустойку в размере 0,1 %" in answered.stdout

    started = time.monotonic()
    demo.process.send_signal(signal.SIGINT)
    rest, _ = demo.process.communicate(timeout=30)
    assert demo.process.returncode == 0
    assert rest.strip() == ""
    assert time.monotonic() - started < 10
    assert not saved.exists(), "the token went with its server"
