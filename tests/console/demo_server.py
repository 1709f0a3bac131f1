"""`consilium serve --demo` as `make run` starts it: a process of its own with its own embedded database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROVIDERS = ("OPENAI_", "OPENROUTER_", "DEEPSEEK_", "GEMINI_", "MOONSHOT_", "ANTHROPIC_", "OLLAMA_", "CONSILIUM_")


@contextmanager
def demo_link(home: Path, **variables: str) -> Iterator[str]:
    """The link the server prints, while it is up. It knows no provider but those that `variables` name."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PROVIDERS)}
    environ |= {"CONSILIUM_DATA_DIR": str(home / "data"), "CONSILIUM_PYTHON": sys.executable, "PYTHONUNBUFFERED": "1"}
    command = [str(ROOT / "bin" / "consilium"), "serve", "--demo", "--port", "0"]
    server = subprocess.Popen(
        command, cwd=home, env=environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout is not None
        printed = ""
        for line in server.stdout:
            printed += line
            if line.startswith("Ctrl-C"):
                break
        found = re.search(r"\S+/console/sign-in#token=\S+", printed)
        assert found, printed
        yield found[0]
    finally:
        server.terminate()
        server.wait(20)
