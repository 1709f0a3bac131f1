"""The operator's file: what is wrong in it is named, with the entry and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import ConfigurationError
from domain.ids import organization_id
from domain.settings import ROOT
from tools.mcp.config import load_operator_servers


def load(tmp_path: Path, text: str, **environ: str) -> object:
    file = tmp_path / "mcp.yaml"
    file.write_text(text)
    return load_operator_servers(file, environ)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("servers: 7", "must be a list"),
        ("servers: [7]", "'?'"),
        ("[", "YAML"),
        ("servers: [{name: a, transport: stdio}]", "'a': entry: Value error, stdio needs `command`"),
        ("servers: [{name: a}]", "needs a `url`"),
        ("servers: [{name: a, url: 'http://x', command: [sh]}]", "no `command`"),
        ("servers: [{name: a, transport: stdio, command: [x], env: {A: '${PATH}'}}]", "must not hold ${...}"),
        ("servers: [{name: a, transport: stdio, command: [x], env_from: [B]}]", "holds ${...}"),
        ("servers: [{name: a, url: 'http://x', headers_from: {X: MISSING}}]", "set MISSING"),
        ("servers: [{name: A_B, url: 'http://x'}]", "name"),
        ("servers: [{name: a, url: 'http://x', color: red}]", "color"),
        ("servers: [{name: a, url: 'http://x'}, {name: a, url: 'http://y'}]", "two servers are named 'a'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        load(tmp_path, text, B="${HOME}")
    assert said in wrong.value.message


def test_secrets_come_from_the_environment(tmp_path: Path) -> None:
    text = "servers: [{name: a, url: 'http://10.0.0.7/mcp', organizations: [acme], headers_from: {Authorization: A}}]"
    file = tmp_path / "mcp.yaml"
    file.write_text(text)
    [one] = load_operator_servers(file, {"A": "Bearer x"})
    server = one.of(organization_id("acme"))
    assert server is not None
    assert server.headers == {"Authorization": "Bearer x"}
    assert "Bearer" not in repr(server)
    assert one.of(organization_id("globex")) is None


def test_the_file_of_the_project_is_valid() -> None:
    assert load_operator_servers(ROOT / "config" / "mcp.yaml", {}) == ()
