"""`python -m evals` as a process: its server, its table, its files, its exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from evals.serving import ROOT
from tests.upstream.reply import fixed
from tests.upstream.server import Upstream


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LANGSMITH", "LANGCHAIN"))}
    return subprocess.run(
        [sys.executable, "-m", "evals", *arguments],
        cwd=ROOT,
        env={**env, **environ},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_the_embedded_model_without_keys(tmp_path: Path) -> None:
    done = run("--only", "tenancy-en", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "tenancy_served" in done.stdout
    assert "cases played in" in done.stdout
    stored = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert stored["model"] == "extractive/extractive"
    assert stored["metrics"]["leaks"]["got"] == 0
    assert stored["metrics"]["errors"]["of"] == len(stored["cases"]) == 10
    assert stored["metrics"]["errors"]["got"] == 0
    assert "tenancy_served" in (tmp_path / "report.html").read_text("utf-8")


def test_what_cannot_be_evaluated_is_said() -> None:
    nothing = run("--only", "nothing")
    assert nothing.returncode == 1
    assert "no case's id begins with 'nothing'" in nothing.stderr
    missing = run("--only", "memory", MODEL="nobody/nothing")
    assert missing.returncode == 1
    assert "MODEL=nobody/nothing is not configured here" in missing.stderr
    assert "extractive/extractive" in missing.stderr


def test_any_configured_model(tmp_path: Path) -> None:
    with Upstream(fixed("The rent is 7 roubles a month.")) as upstream:
        done = run(
            "--only",
            "grounded-en-a",
            "--out",
            str(tmp_path),
            MODEL="openai/gpt-4o-mini",
            OPENAI_API_KEY="sk-scripted",
            OPENAI_BASE_URL=upstream.openai_url,
        )
        assert {request["model"] for request in upstream.requests} == {"gpt-4o-mini"}
    stored = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert stored["model"] == "openai/gpt-4o-mini", done.stderr
    assert {answer["answer"] for case in stored["cases"] for answer in case["exchanges"]} == {
        "The rent is 7 roubles a month."
    }
    assert stored["metrics"]["substituted"]["got"] == stored["metrics"]["errors"]["got"] == 0
    assert stored["metrics"]["refusal_accuracy"]["value"] < 1


def test_a_missed_threshold_is_a_failure(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(
            ("127.0.0.1", 0)
        )  # bound but not listening: the model can't be reached, another answers in its place
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        done = run(
            "--only",
            "routing-en-a",
            "--out",
            str(tmp_path),
            MODEL="openai/gpt-4o-mini",
            OPENAI_API_KEY="sk-scripted",
            OPENAI_BASE_URL=url,
        )
    assert done.returncode == 1, done.stdout
    assert "short of the threshold: substituted" in done.stderr
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["short"] == ["substituted"]
