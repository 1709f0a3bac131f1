"""`consilium serve`."""

from __future__ import annotations

import errno
import os
import socket
import sys
from datetime import timedelta

import click
import uvicorn

from domain.errors import ConfigurationError
from domain.settings import Settings, load_settings
from server.cli.local import Local, save

QUESTION = "Какая неустойка за просрочку поставки по договору?"
GREETING = """
  Consilium is ready: {url}     (API: {url}/docs)
  organisation: {organization} · user: {user} · role: {role}

  Token, valid for 30 days:
  {token}

  Ask from another terminal:
  {program} ask "{question}"

  or over HTTP:
  curl -sN {url}/runs/stream -H "Authorization: Bearer {token}" -H 'Content-Type: application/json' \\
    -d '{{"assistant_id":"supervisor","input":{{"messages":[{{"role":"user","content":"{question}"}}]}},"stream_mode":["messages-tuple"]}}'

  Stop with Ctrl-C.
"""


@click.command(name="serve")
@click.option("--demo", is_flag=True, help="Load the sample organisation and print a token for it.")
@click.option("--host", help="Address to listen on (CONSILIUM_HOST).")
@click.option("--port", type=int, help="Port to listen on (CONSILIUM_PORT).")
def command(demo: bool, host: str | None, port: int | None) -> None:
    """Serve until stopped. Migrates the database first; without DATABASE_URL an embedded Postgres is used."""
    given = {"host": host, "port": port, "demo": demo or None}
    settings = load_settings().model_copy(update={name: value for name, value in given.items() if value is not None})
    if demo and "CONSILIUM_LOG_FORMAT" not in os.environ:
        settings = settings.model_copy(update={"log_format": "console", "log_level": "warning"})
    _serve(settings)


def _serve(settings: Settings) -> None:
    listening = _listen(settings)
    from server.app import create_app

    app = create_app(settings)

    class Greeting(uvicorn.Server):
        """Says where it is once it really is there."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _greet(settings)

    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5, ws="none")
    server = Greeting(config)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    if not server.started:
        sys.exit(1)


def _listen(settings: Settings) -> socket.socket:
    """The bound socket, before anything else is started. Raises ConfigurationError where the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as refused:
        if refused.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"Port {settings.port} is in use. Stop what listens there, or choose another: CONSILIUM_PORT=8081."
            ) from refused
        raise ConfigurationError(
            f"Can't listen on {settings.host}:{settings.port} ({refused.strerror}); set CONSILIUM_HOST or CONSILIUM_PORT."
        ) from refused
    listening.set_inheritable(True)
    return listening


def _greet(settings: Settings) -> None:
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{shown}:{settings.port}"
    if not settings.demo:
        click.echo(f"Consilium is ready: {url}")
        return
    from retrieval.demo import read_demo
    from server.auth import issue_token

    demo = read_demo()
    caller = demo.identity()
    token = issue_token(settings, demo.name, caller.user_id, caller.roles, timedelta(days=30))
    save(settings, Local(url, token))
    click.echo(
        GREETING.format(
            url=url,
            organization=demo.name,
            user=caller.user_id,
            role=", ".join(sorted(caller.roles)),
            token=token,
            program=".venv/bin/consilium",
            question=QUESTION,
        )
    )
