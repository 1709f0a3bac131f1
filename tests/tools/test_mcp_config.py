"""The operator's file: what is wrong in it is named, with the entry and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import ConfigurationError
from domain.ids import organization_id
from domain.mcp import McpServer
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
        ("servers: [{name: a, url: 'http://x', sample: {command: [x]}}]", "only stdio can have a `sample`"),
        ("servers: [{name: a, url: 'http://x', organizations: [b], organizations_from: C}]", "exclude each other"),
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


def test_a_server_that_is_not_set_up_says_what_is_missing(tmp_path: Path) -> None:
    text = """
servers:
  - {name: a, transport: stdio, command: [a], env_from: [B], env_optional: [C], organizations_from: WHOSE}
  - {name: b, url: 'http://x', headers_from: {X: MISSING}, organizations: [acme]}
"""
    file = tmp_path / "mcp.yaml"
    file.write_text(text)
    acme, globex = organization_id("acme"), organization_id("globex")
    first, second = load_operator_servers(file, {"B": ""})
    for organization in (acme, globex):
        server = first.of(organization)
        assert server is not None
        assert server.not_configured is not None
        assert server.not_configured.endswith("must set B, WHOSE.")
    assert second.of(globex) is None
    set_up, _ = load_operator_servers(file, {"B": "b", "C": "c", "WHOSE": "acme, initech"})
    server = set_up.of(acme)
    assert server is not None
    assert (server.not_configured, server.env) == (None, {"B": "b", "C": "c"})
    assert set_up.of(globex) is None


def test_the_sample_organisation_has_the_sample_account_until_it_has_its_own() -> None:
    file, demo, acme = ROOT / "config" / "mcp.yaml", organization_id("demo"), organization_id("acme")
    real = {"AMOCRM_BASE_URL": "https://acme.amocrm.ru", "AMOCRM_TOKEN": "t"}

    def of(environ: dict[str, str], organization: str, *, loaded: bool = True) -> McpServer | None:
        [amocrm] = load_operator_servers(file, environ, demo if loaded else None)
        return amocrm.of(organization_id(organization))

    sample = of({}, "demo")
    assert sample is not None
    assert (sample.command[-1], sample.not_configured, sample.on_premises) == ("--sample", None, True)
    assert sample.organization_id == demo
    for server in (of({}, "acme"), of({}, "demo", loaded=False)):
        assert server is not None
        assert "AMOCRM_BASE_URL, AMOCRM_ORGANIZATIONS" in (server.not_configured or "")
    theirs = of({**real, "AMOCRM_ORGANIZATIONS": "acme"}, "acme")
    assert theirs is not None
    assert (theirs.organization_id, theirs.command[-1], theirs.on_premises) == (acme, "stdio", False)
    assert theirs.env["AMOCRM_TOKEN"] == "t"
    still = of({**real, "AMOCRM_ORGANIZATIONS": "acme"}, "demo")
    assert still == sample
    own = of({**real, "AMOCRM_ORGANIZATIONS": "acme,demo"}, "demo")
    assert own is not None
    assert own.command[-1] == "stdio"
    assert of({**real, "AMOCRM_ORGANIZATIONS": "acme"}, "globex") is None
