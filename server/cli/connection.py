"""Where the server is and with which token to call it.

Options first, then CONSILIUM_URL and CONSILIUM_TOKEN, then what a local `serve --demo` left.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from server.cli.terminal import Failure

if TYPE_CHECKING:
    from domain.settings import Settings

FILE = "local.json"
"""In the data directory: {"url", "token"} of the sample organisation, readable by its owner only."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The server's address (no trailing slash) and a token for it."""

    url: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--url` and `--token` to a command."""
    url = click.option("--url", envvar="CONSILIUM_URL", help="The server's address [env: CONSILIUM_URL].")
    token = click.option("--token", envvar="CONSILIUM_TOKEN", help="Who asks [env: CONSILIUM_TOKEN].")
    return url(token(command))


def connect(url: str | None, token: str | None) -> Connection:
    """The connection to use. Fails with what to do where there's no token or nothing listens."""
    if url is None or token is None:
        saved = _saved()
        # A saved token goes to the server that made it and to no other.
        if token is None and saved is not None and url in (None, saved.url):
            token = saved.token
        url = url or (saved.url if saved else _default_url())
    url = url.rstrip("/")
    _require_listener(url)
    if token is None:
        raise Failure(
            "unauthenticated",
            "no token. Set CONSILIUM_TOKEN to one: "
            "export CONSILIUM_TOKEN=$(consilium token --organization demo --user me --role manager)",
        )
    return Connection(url, token)


def save(settings: Settings, connection: Connection) -> None:
    """Leave the connection in the data directory for the other commands of this machine."""
    path = settings.data_dir / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"url": connection.url, "token": connection.token}, file)


def forget(settings: Settings) -> None:
    """Take back what `save` left."""
    (settings.data_dir / FILE).unlink(missing_ok=True)


def local_url(host: str, port: int) -> str:
    """The address to call a server that listens on `host`: one that listens everywhere is called on the loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _saved() -> Connection | None:
    from domain.settings import ROOT, load_settings

    # The second is where `make run` leaves it; the first differs when called from another directory.
    for path in (load_settings().data_dir / FILE, ROOT / ".consilium" / FILE):
        if path.is_file():
            saved = json.loads(path.read_text("utf-8"))
            return Connection(saved["url"], saved["token"])
    return None


def _default_url() -> str:
    from domain.settings import load_settings

    settings = load_settings()
    return local_url(settings.host, settings.port)


def _require_listener(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Failure("invalid_input", f"--url: '{url}' is no address; it looks like http://127.0.0.1:8080")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=5).close()
    except (OSError, ValueError) as refused:
        raise Failure(
            "server_unreachable",
            f"nothing answers at {url}. Start the server with `make run` (or `consilium serve`), "
            "or name another with --url or CONSILIUM_URL.",
        ) from refused
