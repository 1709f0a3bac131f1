"""`consilium serve`."""

from __future__ import annotations

import errno
import gc
import hmac
import json
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from server.cli.connection import Connection, forget, local_url, save

if TYPE_CHECKING:
    from fastapi import FastAPI

    from domain.settings import Settings

QUESTION: Final = "Какая неустойка за просрочку поставки по договору?"
DEMO_TOKEN_TTL: Final = timedelta(days=1)
GRACE_SECONDS: Final = 5
"""How long open streams may go on after Ctrl-C or SIGTERM."""
GARBAGE: Final = 50_000
"""Objects that may gather before the youngest are looked through; a turn makes some ten thousand."""


@click.command()
@click.option(
    "--demo", is_flag=True, help="Load the sample organisation, log little, print a token and a first question."
)
@click.option("--host", help="Address to listen on [env: CONSILIUM_HOST].")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, 0 for any free [env: CONSILIUM_PORT].")
def serve(demo: bool, host: str | None, port: int | None) -> None:
    """Serve the API until Ctrl-C or SIGTERM."""
    from domain.settings import load_settings

    settings = load_settings()
    demo = demo or settings.demo
    changes: dict[str, Any] = {"demo": demo, "host": host or settings.host}
    if demo:
        changes |= _quiet(os.environ)
    listener = _listen(changes["host"], settings.port if port is None else port)
    settings = settings.model_copy(update={**changes, "port": listener.getsockname()[1]})
    if demo:
        click.echo("Consilium is starting ...")
    with listener, suppress(KeyboardInterrupt):
        _run(settings, listener)


def _quiet(environ: Mapping[str, str]) -> dict[str, str]:
    """The terminal of `make run` is for reading: only warnings, in words, unless the environment asks for more."""
    wanted = {"log_level": "warning", "log_format": "console"}
    return {field: value for field, value in wanted.items() if f"CONSILIUM_{field.upper()}" not in environ}


def _listen(host: str, port: int) -> socket.socket:
    """The bound socket, taken before anything slow starts. Raises ConfigurationError naming the variable to change."""
    from domain.errors import ConfigurationError

    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # connections inherit it; the event loop sets it only where a socket's protocol is named
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as refused:
        listener.close()
        if refused.errno == errno.EADDRINUSE:
            free = port + 1 if port < 65535 else port - 1
            raise ConfigurationError(
                f"Port {port} of {host} is in use by another program (or another Consilium). "
                f"Stop that one, or take another port: CONSILIUM_PORT={free} make run"
            ) from refused
        if refused.errno == errno.EACCES:
            raise ConfigurationError(
                f"Port {port} may not be opened by this user; take one above 1023: CONSILIUM_PORT=8080"
            ) from refused
        raise ConfigurationError(
            f"CONSILIUM_HOST: '{host}' is no address of this machine ({refused.strerror}); "
            "take 127.0.0.1, or 0.0.0.0 for all"
        ) from refused
    return listener


def _run(settings: Settings, listener: socket.socket) -> None:
    import uvicorn

    from server import logs
    from server.app import create_app

    class Server(uvicorn.Server):
        """Tells when it is ready."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _settle_memory()
                _announce(settings)

    logs.configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings)
    if settings.console:
        _add_console(app, settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=30,
        backlog=2048,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = Server(config)
    try:
        server.run(sockets=[listener])
    finally:
        if settings.demo:
            forget(settings)
    if not server.started:
        sys.exit(1)  # the lifespan has logged why


def _add_console(app: FastAPI, settings: Settings) -> None:
    """The web console, which calls this server by its address as any client does."""
    from console.mounting import mount
    from server.auth import signing_secret

    # Replicas that share the tokens' secret share the sessions, too.
    secret = signing_secret(settings) or secrets.token_bytes(32)
    mount(app, local_url(settings.host, settings.port), hmac.digest(secret, b"console sessions", "sha256").hex())


def _settle_memory() -> None:
    """What is loaded now stays: the collector needn't look at it with every turn, which was a fifth of a turn's processor time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)


def _announce(settings: Settings) -> None:
    url = local_url(settings.host, settings.port)
    if not settings.demo:
        click.echo(f"Consilium is ready: {url}")
        return
    from retrieval.demo import read_demo
    from server.auth import issue_token

    demo = read_demo()
    user = demo.users[0]
    token = issue_token(settings, demo.name, user.user_id, [user.role], DEMO_TOKEN_TTL)
    save(settings, Connection(url, token))
    body = {"assistant_id": "supervisor", "input": {"messages": [{"role": "user", "content": QUESTION}]}}
    curl = (
        f"curl -s {url}/runs/wait -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' "
        f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
    )
    click.echo(
        f"\nConsilium is ready: {click.style(url, bold=True)}   (API: {url}/docs)\n"
        f"Sample organisation: {demo.title}, {len(demo.documents)} documents. You are {user.user_id} ({user.role}).\n"
        + (f"\nOpen the console, signed in:\n\n  {url}/console/sign-in#token={token}\n" if settings.console else "")
        + f"\nAsk in another terminal:\n\n  {_launcher()} ask {json.dumps(QUESTION, ensure_ascii=False)}\n"
        f"\nor over HTTP:\n\n  {curl}\n"
        f"\nToken (for a day):\n\n  {token}\n"
        "\nCtrl-C stops the server."
    )


def _launcher() -> str:
    """How to call this command line from any directory."""
    from domain.settings import ROOT

    installed = Path(sys.prefix) / "bin" / "consilium"
    return shlex.quote(str(installed if installed.exists() else ROOT / "bin" / "consilium"))
