"""What makes a checkout run elsewhere: the locks, the Makefile, the container files, langgraph.json, the pictures."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from graphs.build import drawing_graphs
from nodes.delegate import ORGANIZATION_SPECIALIST
from server.drawing.files import pictures, stale

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock"]


def pins(lock: str) -> dict[str, set[str]]:
    """Package -> the versions pinned, one for each range of Python where they differ."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / lock).read_text("utf-8").splitlines():
        if line and line[0].isalnum():
            requirement = Requirement(line.rstrip(" \\"))
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            found.setdefault(canonicalize_name(requirement.name), set()).add(pin.version)
    return found


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return loaded


def test_the_locks_hold_what_pyproject_asks_for(project: dict[str, Any]) -> None:
    wanted = {"requirements.lock": project["dependencies"]}
    wanted["requirements-dev.lock"] = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for lock, requirements in wanted.items():
        locked = pins(lock)
        for requirement in map(Requirement, requirements):
            versions = locked.get(canonicalize_name(requirement.name))
            assert versions, f"{lock}: {requirement.name} is missing; run `make locks`"
            assert all(requirement.specifier.contains(version) for version in versions), f"{lock}: {requirement}"


def test_both_locks_pin_the_same_versions() -> None:
    service, everything = pins(LOCKS[0]), pins(LOCKS[1])
    assert {name: everything.get(name) for name in service} == service


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=sha256:)", text, re.M), "only hashes"
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Make as a person calls it, also when these tests are run by make."""
    environ = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_make_help_lists_the_targets() -> None:
    listed = make("help").stdout
    for target in ("run", "test", "lint", "graphs", "bench", "clean"):
        assert re.search(rf"^  make {target}\s+\w", listed, re.M)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ('[ "$1" = --version ] && echo "Python 3.9.2" || exit 1', "Consilium needs Python 3.11 or newer"),
        ('[ "$1" = -c ] || { echo "ensurepip is not available"; exit 1; }', "apt install python3-venv"),
    ],
)
def test_make_says_what_the_machine_lacks(tmp_path: Path, script: str, says: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "bin", tmp_path / "bin")
    for lock in LOCKS:
        shutil.copy(ROOT / lock, tmp_path)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    ended = make("run", f"PYTHON={python}", cwd=tmp_path)
    assert ended.returncode != 0
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / ".venv" / ".created").exists()


def test_a_prepared_machine_installs_nothing() -> None:
    """Both stamps newer than the locks: `make run` goes straight to the server."""
    if not (ROOT / ".venv" / ".installed").exists():
        pytest.skip("not prepared by make")
    planned = make("--dry-run", "run").stdout
    assert "pip" not in planned
    assert planned.strip().endswith("consilium serve --demo")


def test_the_launcher_finds_the_checkout_from_anywhere(tmp_path: Path) -> None:
    link = tmp_path / "consilium"
    link.symlink_to(ROOT / "bin" / "consilium")
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("raise RuntimeError('the caller has a package of this name')")
    environ = {"CONSILIUM_PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
    ended = subprocess.run([link, "--help"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Usage: consilium" in ended.stdout


def test_langgraph_json_names_what_exists() -> None:
    described = json.loads((ROOT / "langgraph.json").read_text("utf-8"))
    assert described["dependencies"] == ["."]
    # what an organisation's own specialist is, is in its database, of which the Studio knows nothing
    assert set(described["graphs"]) == set(drawing_graphs()) - {ORGANIZATION_SPECIALIST}
    for spec in described["graphs"].values():
        module, _, name = spec.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_pictures_are_those_of_the_code() -> None:
    assert stale(pictures(drawing_graphs()), ROOT / "docs" / "graphs") == [], "run `make graphs`"


def test_compose_starts_a_healthy_database_before_a_locked_down_api() -> None:
    described = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    services = described["services"]
    assert services["postgres"]["image"].startswith("pgvector/pgvector:")
    assert services["api"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for service in services.values():
        assert service["healthcheck"]["test"]
        assert {mount.split(":")[0] for mount in service["volumes"]} <= set(described["volumes"])
    assert "/ok" in " ".join(services["api"]["healthcheck"]["test"])
    assert services["api"]["environment"]["DATABASE_URL"].startswith("postgresql://")
    if shutil.which("docker"):
        environ = {"POSTGRES_PASSWORD": "x", "CONSILIUM_JWT_SECRET": "x" * 32, "PATH": "/usr/bin:/bin:/usr/local/bin"}
        version = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if version.returncode == 0:
            subprocess.run(["docker", "compose", "config", "--quiet"], cwd=ROOT, env=environ, check=True)


def test_the_image_runs_as_a_user_and_holds_every_package_of_the_service(project: dict[str, Any]) -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    user = next(at for at, line in enumerate(lines) if line.startswith("USER "))
    command = next(at for at, line in enumerate(lines) if line.startswith("CMD "))
    assert lines[user] != "USER root"
    assert user < command
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    assert any("--require-hashes" in line for line in lines)
    assert not any("://" in line and "127.0.0.1" not in line for line in lines)
    copied = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert set(config["tool"]["importlinter"]["root_packages"]) <= copied
    assert {"config", "demo", "bin", "requirements.lock"} <= copied
    assert project["requires-python"] == ">=3.11"


def test_ci_is_a_valid_script() -> None:
    script = ROOT / ".ci" / "run"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in script.read_text("utf-8")
