"""The command line as a person calls it: a process of its own against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serving import SECRET, Served

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = """# Договор поставки № 5

## 7. Ответственность

За просрочку поставки Поставщик уплачивает неустойку 0,3 % стоимости товара за каждый день просрочки.
"""
QUOTE = "За просрочку поставки Поставщик уплачивает неустойку 0,3 % стоимости товара за каждый день просрочки"
QUESTION = "Какая неустойка за просрочку поставки по договору?"


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


async def call(*arguments: str, typed: str | None = None, **environ: str) -> Done:
    """Run it. With `typed` there is a person at a terminal, who has typed that."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONSILIUM_", "LANG", "LC_"))}
    person, terminal = os.openpty()
    try:
        if typed is not None:
            os.write(person, typed.encode())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "server.cli", *arguments),
            cwd=ROOT,
            env={**kept, **environ},
            stdin=asyncio.subprocess.DEVNULL if typed is None else terminal,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    finally:
        os.close(person)
        os.close(terminal)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


def access(server: Served, **claims: str) -> dict[str, str]:
    return {"CONSILIUM_URL": server.url, "CONSILIUM_TOKEN": server.token(**claims)}


async def test_ask_shows_the_delegation_the_answer_once_and_its_sources(server: Served) -> None:
    document_id = await server.upload("contract.md", CONTRACT)
    done = await call("ask", QUESTION, **access(server))
    assert done.code == 0, done.err
    assert f"supervisor → legal_agent: {QUESTION}" in done.out
    answer, sources = done.out.split("Источники:\n")
    assert answer.count(QUOTE) == 1
    place = re.search(r"^\[1\] contract · раздел .*7\. Ответственность · символы \d+–\d+$", sources, re.M | re.I)
    assert place or "[1] Договор поставки № 5 · раздел" in sources, sources
    assert f"«{QUOTE}" in sources
    assert f"{server.url}/v1/documents/{document_id}/versions/1/passage?start=" in sources
    assert re.search(r"extractive · \d+ токенов · \d+ ms · thread [0-9a-f-]{36}", sources)
    assert "\x1b[" not in done.out, "colours are for terminals"


async def test_ask_speaks_the_language_of_the_question_and_says_where_it_found_nothing(server: Served) -> None:
    done = await call("ask", "What is the favourite colour of the chief executive?", **access(server))
    assert done.code == 0, done.err
    assert "Sources" not in done.out
    assert "answered offline from the documents, without a language model" in done.out


async def test_ask_as_json_is_one_object_and_a_thread_can_be_continued(server: Served) -> None:
    await server.upload("contract.md", CONTRACT)
    first = json.loads((await call("ask", "--json", QUESTION, **access(server))).out)
    assert QUOTE in first["answer"]
    assert first["citations"][0]["n"] == 1
    assert [delegation["agent"] for delegation in first["delegations"]] == ["legal_agent"]
    assert first["delegations"][0]["status"] == "completed"
    assert first["provider"] == "extractive"
    assert first["stop_reason"] == "completed"
    assert first["usage"]["prompt"] > 0
    second = await call("ask", "--json", "--thread", first["thread_id"], QUESTION, **access(server))
    assert json.loads(second.out)["thread_id"] == first["thread_id"]
    async with server.sdk() as client:
        state = await client.threads.get_state(first["thread_id"])
    assert [m["type"] for m in state["values"]["messages"]].count("human") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (["--thread", "0b6f3c1e-0000-4000-8000-000000000000"], "not_found", "0b6f3c1e-0000-4000-8000-000000000000"),
        (["--assistant", "oracle"], "not_found", "oracle"),
        (["--token", "not-a-token"], "unauthenticated", "token"),
    ],
)
async def test_a_refusal_is_one_line_with_code_and_trace(
    server: Served, arguments: list[str], code: str, names: str
) -> None:
    done = await call("ask", *arguments, "hello", **access(server))
    assert done.code == 1
    assert done.out == ""
    assert re.fullmatch(rf"error {code}: .*{names}.* \(trace [0-9a-f]{{32}}\)\n", done.err)


async def test_without_a_server_it_says_how_to_start_one(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can answer there
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = await call("ask", "hello", CONSILIUM_URL=url, CONSILIUM_TOKEN="x", CONSILIUM_DATA_DIR=str(tmp_path))
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "make run" in done.err
    assert url in done.err


async def test_a_saved_token_goes_to_its_own_server_only(server: Served, tmp_path: Path) -> None:
    saved = {"url": "http://127.0.0.1:1", "token": server.token()}
    (tmp_path / "local.json").write_text(json.dumps(saved))
    done = await call("documents", "list", CONSILIUM_URL=server.url, CONSILIUM_DATA_DIR=str(tmp_path))
    assert done.code == 1
    assert "no token" in done.err
    (tmp_path / "local.json").write_text(json.dumps({**saved, "url": server.url}))
    done = await call("documents", "list", CONSILIUM_DATA_DIR=str(tmp_path))
    assert done.code == 0, done.err


async def test_documents_are_added_listed_shown_and_deleted(server: Served, tmp_path: Path) -> None:
    good, bad = tmp_path / "contract.md", tmp_path / "broken.pdf"
    good.write_text(CONTRACT, "utf-8")
    bad.write_bytes(b"%PDF-1.7 broken")
    done = await call("documents", "add", str(good), str(bad), **access(server))
    assert done.code == 1, "one file could not be read"
    assert "✗ broken.pdf  document_unreadable: " in done.err
    added = re.search(r"✓ contract\.md  ([0-9a-f-]{36})  v1  \d+ passages", done.out)
    assert added, done.out
    listed = json.loads((await call("documents", "list", "--json", **access(server))).out)
    assert {record["status"] for record in listed} == {"ready", "failed"}
    shown = json.loads((await call("documents", "show", added[1], **access(server))).out)
    assert shown["filename"] == "contract.md"
    assert (await call("documents", "delete", added[1], **access(server, role="member"))).code == 1
    assert (await call("documents", "delete", added[1], **access(server))).code == 0
    gone = await call("documents", "show", added[1], **access(server))
    assert gone.err.startswith(f"error not_found: No document '{added[1]}' here.")


async def test_a_token_is_alone_on_the_last_line_and_is_taken(server: Served, tmp_path: Path) -> None:
    environ = {"CONSILIUM_JWT_SECRET": SECRET, "CONSILIUM_DATA_DIR": str(tmp_path)}
    wanted = ["token", "--organization", "acme", "--user", "ann", "--role", "manager", "--role", "member"]
    done = await call(*wanted, "--ttl", "15m", **environ)
    assert done.code == 0, done.err
    token = done.out.splitlines()[-1]
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", token)
    used = await call("documents", "list", CONSILIUM_URL=server.url, CONSILIUM_TOKEN=token)
    assert used.code == 0, used.err
    assert (await call(*wanted, "--ttl", "soon", **environ)).code == 2


async def test_every_wrong_setting_is_on_a_line_of_its_own(tmp_path: Path) -> None:
    done = await call("serve", CONSILIUM_PORT="many", CONSILIUM_PROT="1", CONSILIUM_DATA_DIR=str(tmp_path))
    assert done.code == 1
    lines = done.err.splitlines()
    assert lines[0].strip() == "error configuration_error:"
    assert sorted(line.split()[0].rstrip(":") for line in lines[1:]) == ["CONSILIUM_PORT", "CONSILIUM_PROT"]


async def test_a_port_in_use_is_said_with_the_variable_to_change(server: Served, tmp_path: Path) -> None:
    port = server.url.rsplit(":", 1)[1]
    done = await call("serve", CONSILIUM_PORT=port, CONSILIUM_DATA_DIR=str(tmp_path))
    assert done.code == 1
    assert done.err.startswith(f"error configuration_error: Port {port} of 127.0.0.1 is in use")
    assert f"CONSILIUM_PORT={int(port) + 1} make run" in done.err
    assert os.listdir(tmp_path) == [], "nothing was started"


async def test_help_lists_every_command() -> None:
    done = await call("--help")
    for command in ("serve", "ask", "decide", "documents", "token", "migrate", "graph"):
        assert f"  {command} " in done.out
        assert (await call(command, "--help")).code == 0
