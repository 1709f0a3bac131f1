"""`consilium documents`: over the API, as any client."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import httpx

from domain.errors import ConsiliumError
from server.cli.local import find

_POLL_SECONDS = 0.3


@click.group(name="documents")
@click.option("--url", help="The server (CONSILIUM_URL).")
@click.option("--token", help="The token (CONSILIUM_TOKEN).")
@click.pass_context
def command(ctx: click.Context, url: str | None, token: str | None) -> None:
    """List, add, show and delete the organisation's documents."""
    known = find(url, token)
    client = httpx.Client(base_url=known.url, headers={"Authorization": f"Bearer {known.token}"}, timeout=60)
    ctx.obj = ctx.with_resource(client)


@command.command(name="list")
@click.pass_obj
def list_documents(client: httpx.Client) -> None:
    """Every document with its status."""
    for document in _call(client, "GET", "/v1/documents", params={"limit": 200})["items"]:
        _show(document)


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def add(client: httpx.Client, files: Iterable[Path]) -> None:
    """Upload files and wait until each is searchable; one that can't be read fails alone."""
    failed = False
    for path in files:
        try:
            document = _call(client, "POST", "/v1/documents", files={"file": (path.name, path.read_bytes())})
            while document["status"] not in ("ready", "failed"):
                time.sleep(_POLL_SECONDS)
                document = _call(client, "GET", f"/v1/documents/{document['document_id']}")
        except ConsiliumError as refused:
            click.echo(f"✗ {path.name}: {refused.message}", err=True)
            failed = True
            continue
        _show(document)
        failed = failed or document["status"] == "failed"
    if failed:
        sys.exit(1)


@command.command()
@click.argument("document_id")
@click.pass_obj
def show(client: httpx.Client, document_id: str) -> None:
    """One document and its text."""
    document = _call(client, "GET", f"/v1/documents/{document_id}")
    _show(document)
    if document["status"] == "ready":
        text = _call(client, "GET", f"/v1/documents/{document_id}/versions/{document['version']}/text")
        click.echo(text["text"])


@command.command()
@click.argument("document_id")
@click.pass_obj
def delete(client: httpx.Client, document_id: str) -> None:
    """Forget a document with all its versions."""
    _call(client, "DELETE", f"/v1/documents/{document_id}")
    click.echo("Deleted.")


def _show(document: dict[str, Any]) -> None:
    mark = {"ready": "✓", "failed": "✗"}.get(document["status"], "…")
    reason = f": {document['error']['message']}" if document.get("error") else ""
    click.echo(f"{mark} {document['document_id']}  {document['title']} (v{document['version']}) {document['status']}{reason}")


def _call(client: httpx.Client, method: str, path: str, **more: Any) -> Any:
    """The answer's JSON. Raises ConsiliumError with what the server said."""
    try:
        answer = client.request(method, path, **more)
    except httpx.TransportError as unreachable:
        raise ConsiliumError(f"{client.base_url} does not answer ({unreachable}); start it with `make run`.") from unreachable
    if answer.is_error:
        told = answer.json()
        raise ConsiliumError(f"{told['message']} ({told['error_code']}, trace_id {told['trace_id']})")
    return answer.json() if answer.content else None
