"""`consilium mcp-amocrm`."""

from __future__ import annotations

import errno
import socket
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from tools.amocrm.config import AmoConfig

PORT = 8090


@click.command(name="mcp-amocrm")
@click.option(
    "--transport",
    type=click.Choice(["http", "stdio"]),
    default="http",
    show_default=True,
    help="Streamable HTTP at /mcp, or one client on stdin and stdout.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need AMOCRM_MCP_TOKEN."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Port to listen on, 0 for any free."
)
@click.option("--sample", is_flag=True, help="An invented account kept in memory, to try the tools without amoCRM.")
def mcp_amocrm(transport: Literal["http", "stdio"], host: str, port: int, sample: bool) -> None:
    """Serve an amoCRM account's tools over MCP until Ctrl-C or SIGTERM.

    The account is set by AMOCRM_BASE_URL and AMOCRM_TOKEN, or OAuth's variables; see docs/amocrm.md. With --sample it is an
    invented one.
    """
    import asyncio

    from domain.errors import ConfigurationError
    from domain.settings import process_environment
    from server.logs import configure_logging
    from tools.amocrm.config import LOOPBACK, load_config
    from tools.amocrm.server import run_stdio

    config = load_config(process_environment(), sample=sample)
    if transport == "http" and host not in LOOPBACK and config.mcp_token is None:
        raise ConfigurationError(
            f"--host {host}: others than this machine could read and change the CRM. Fix: set AMOCRM_MCP_TOKEN, which clients "
            "then send as their bearer token, or listen on 127.0.0.1"
        )
    configure_logging("warning", "console")
    if transport == "stdio":
        asyncio.run(run_stdio(config, _version()))
    else:
        _serve(config, host, port)


def _serve(config: AmoConfig, host: str, port: int) -> None:
    import uvicorn

    from tools.amocrm.server import make_app

    with _listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"amoCRM's tools are served at http://{shown}:{listener.getsockname()[1]}/mcp")
        server = uvicorn.Server(
            uvicorn.Config(make_app(config, _version()), log_config=None, access_log=False, timeout_graceful_shutdown=5)
        )
        server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Raises ConfigurationError naming the option to change."""
    from domain.errors import ConfigurationError

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as refused:
        if refused.errno == errno.EADDRINUSE:
            raise ConfigurationError(f"Port {port} of {host} is in use. Fix: take another one with --port") from refused
        raise ConfigurationError(f"--host {host} --port {port}: can't listen there ({refused.strerror})") from refused


def _version() -> str:
    try:
        return version("consilium")
    except PackageNotFoundError:  # run in place
        return "0"
