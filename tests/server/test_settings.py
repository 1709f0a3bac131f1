"""Settings: where they come from, what is said of wrong ones, and that the texts about them are in step."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from domain.errors import ConfigurationError
from domain.settings import ROOT, example, load_settings, process_environment, variable, variables

NAMES = dict(variables())


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as told:
        load_settings(environ)
    found = told.value.details["problems"]
    assert all(problem in told.value.message for problem in found)
    return list(found)


def yaml_file(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "settings.yaml"
    path.write_text(text, "utf-8")
    return {"CONSILIUM_CONFIG": str(path)}


def test_an_empty_environment_is_enough() -> None:
    settings = load_settings({})
    assert (settings.port, settings.database_url, settings.jwt_secret) == (8080, None, None)


def test_the_environment_beats_yaml_and_yaml_the_default(tmp_path: Path) -> None:
    named = yaml_file(tmp_path, "port: 1000\nhost: 10.0.0.1\nlimits:\n  max_depth: 2\n  turn_seconds: 60\n")
    settings = load_settings({**named, "CONSILIUM_PORT": "2000", "CONSILIUM_LIMITS__TURN_SECONDS": "90"})
    assert (settings.port, settings.host) == (2000, "10.0.0.1")
    assert (settings.limits.max_depth, settings.limits.turn_seconds, settings.limits.max_tool_steps) == (2, 90, 12)


def test_a_dotenv_file_lies_under_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text(
        'CONSILIUM_PORT=3000\nexport CONSILIUM_HOST="10.0.0.2" # of the lab\nOPENAI_API_KEY=k\n'
    )
    monkeypatch.setenv("CONSILIUM_PORT", "4000")
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.port, settings.host) == (4000, "10.0.0.2")
    assert process_environment(tmp_path)["OPENAI_API_KEY"] == "k"


def test_an_empty_variable_is_unset() -> None:
    assert load_settings({"CONSILIUM_PORT": "", "DATABASE_URL": "", "CONSILIUM_JWT_SECRET": ""}) == load_settings({})


@pytest.mark.parametrize(
    ("given", "expected"),
    [("*", ["*"]), ("https://a, https://b", ["https://a", "https://b"]), ('["https://a"]', ["https://a"])],
)
def test_origins_are_a_list(given: str, expected: list[str]) -> None:
    assert load_settings({"CONSILIUM_CORS_ORIGINS": given}).cors_origins == expected


def test_no_daily_limit_can_be_said() -> None:
    assert load_settings({"CONSILIUM_DAILY_TOKENS": "null"}).daily_tokens is None
    assert load_settings({"CONSILIUM_DAILY_TOKENS": "0"}).daily_tokens == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONSILIUM_PORT", "abc"),
        ("CONSILIUM_PORT", "70000"),
        ("CONSILIUM_DEMO", "perhaps"),
        ("CONSILIUM_LOG_LEVEL", "loud"),
        ("CONSILIUM_LIMITS__MAX_TOOL_STEPS", "0"),
        ("CONSILIUM_JWT_SECRET", "short"),
        ("CONSILIUM_JWT_SECRET", "ы" * 15),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("CONSILIUM_JWKS_URL", "ftp://x"),
        ("CONSILIUM_JWKS_FILE", "nowhere.json"),
        ("CONSILIUM_PROVIDERS_FILE", "nowhere.yaml"),
        ("CONSILIUM_CORS_ORIGINS", "[1,"),
        ("CONSILIUM_DAILY_TOKENS", "-1"),
        ("CONSILIUM_LEASE_SECONDS", "nan"),
    ],
)
def test_a_wrong_value_names_its_variable_and_the_fix(name: str, value: str) -> None:
    [problem] = problems({name: value})
    assert problem.startswith(f"{name}: ")
    assert f"Fix: for example {name}=" in problem


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        {"CONSILIUM_PORT": "x", "CONSILIUM_DEMO": "x", "CONSILIUM_PROT": "1", "CONSILIUM_CONFIG": "/nowhere"}
    )
    assert len(found) == 4


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CONSILIUM_PROT", "CONSILIUM_PORT"),
        ("CONSILIUM_JWT_SECRT", "CONSILIUM_JWT_SECRET"),
        ("CONSILIUM_LIMITS__MAX_TOOL_STEP", "CONSILIUM_LIMITS__MAX_TOOL_STEPS"),
        ("CONSILIUM_LIMITS_MAX_DEPTH", "CONSILIUM_LIMITS__MAX_DEPTH"),
        ("CONSILIUM_DATABASE_URL", "DATABASE_URL"),
    ],
)
def test_a_misspelt_variable_is_told_with_the_nearest(name: str, meant: str) -> None:
    [problem] = problems({name: "1"})
    assert problem.startswith(f"{name} is not a setting; did you mean {meant}?")


def test_the_variables_of_the_command_line_and_of_kubernetes_are_no_misspellings() -> None:
    load_settings({"CONSILIUM_TOKEN": "x", "CONSILIUM_URL": "x", "CONSILIUM_PYTHON": "x"})
    load_settings({"CONSILIUM_SERVICE_HOST": "10.0.0.1", "CONSILIUM_PORT_8080_TCP_ADDR": "10.0.0.1"})
    assert "enableServiceLinks" in problems({"CONSILIUM_PORT": "tcp://10.0.0.1:8080"})[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prot: 1", "settings.yaml: 'prot' is not a setting; did you mean port?"),
        ("limits:\n  max_dept: 1", "settings.yaml: 'limits.max_dept' is not a setting; did you mean limits.max_depth?"),
        ("port: no way", "settings.yaml: port: must be a valid integer"),
        ("limits: 3", "settings.yaml: limits: "),
        ("- port", "settings.yaml: must be a mapping"),
        ("port: [", "settings.yaml: not valid YAML at line"),
        ("5: x", "settings.yaml: '5' is not a setting"),
    ],
)
def test_a_wrong_yaml_file_names_the_key(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(yaml_file(tmp_path, text))[0].startswith(expected)


def test_no_secret_is_in_a_message_or_a_repr() -> None:
    secret, url = "zz-hush", "mysql://ann:zz-hush@db/x"
    assert "zz-hush" not in str(
        problems({"CONSILIUM_JWT_SECRET": secret, "DATABASE_URL": url, "CONSILIUM_DATABASE_APP_URL": url})
    )
    good = load_settings({"CONSILIUM_JWT_SECRET": secret * 9, "DATABASE_URL": url.replace("mysql", "postgresql")})
    assert "zz-hush" not in repr(good)


def test_settings_that_exclude_each_other() -> None:
    assert "CONSILIUM_POOL_MIN (30)" in problems({"CONSILIUM_POOL_MIN": "30"})[0]
    file = str(ROOT / "pyproject.toml")
    assert "exclude each other" in problems({"CONSILIUM_JWKS_FILE": file, "CONSILIUM_JWKS_URL": "https://x"})[0]


def test_every_example_works() -> None:
    given = {variable(name): example(name) for name in ("port", "cors_origins", "providers_file", "log_level", "demo")}
    assert load_settings(given) == load_settings({}).model_copy(
        update={"providers_file": Path("config/providers.yaml")}
    )


def test_the_example_file_lists_every_variable_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    listed = dict(re.fullmatch(r"# ([A-Z_]+)=(.*)", line).groups() for line in lines if re.match(r"# [A-Z_]+=", line))  # type: ignore[union-attr]
    assert NAMES.keys() <= listed.keys()
    ours = {name for name in listed if name.startswith("CONSILIUM_")}
    assert ours - NAMES.keys() == {"CONSILIUM_CONFIG"}
    defaults = load_settings({name: value for name, value in listed.items() if name in NAMES})
    files = {"providers_file": Path("config/providers.yaml"), "mcp_file": Path("config/mcp.yaml")}
    files["evals_dir"] = Path(".consilium/evals")
    assert defaults == load_settings({}).model_copy(update=files)
    for above, line in pairwise(lines):
        if re.match(r"# [A-Z_]+=", line):
            assert above.startswith("# "), f"{line} has no comment"


def test_the_documentation_lists_every_variable_with_its_default() -> None:
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\|", (ROOT / "docs" / "configuration.md").read_text("utf-8"), re.M
    )
    assert [name for name, _ in rows] == list(NAMES)
    listed = (ROOT / ".env.example").read_text("utf-8")
    for name, default in rows:
        assert f"# {name}={default}\n" in listed


def test_the_settings_file_of_the_project_is_valid() -> None:
    assert isinstance(yaml.safe_load((ROOT / "config" / "consilium.yaml").read_text("utf-8")) or {}, dict)
    load_settings({"CONSILIUM_CONFIG": str(ROOT / "config" / "consilium.yaml")})
