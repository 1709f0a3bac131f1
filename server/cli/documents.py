"""`consilium documents`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.cli.connection import connect, connection_options
from server.cli.terminal import Failure, clean, failure_of

if TYPE_CHECKING:
    import httpx

POLL_SECONDS = 0.3


@click.group()
def documents() -> None:
    """List, add, show and delete the organisation's documents."""


@documents.command("list")
@click.option("--status", type=click.Choice(["pending", "parsing", "indexing", "ready", "failed"]))
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON.")
@connection_options
def list_documents(status: str | None, as_json: bool, url: str | None, token: str | None) -> None:
    """List the documents, newest first."""
    with _client(url, token) as client:
        records = list(_all(client, status))
    if as_json:
        click.echo(json.dumps(records, ensure_ascii=False, indent=2))
        return
    for record in records:
        click.echo(f"{record['document_id']}  {record['status']:<8}  v{record['version']}  {clean(record['title'])}")


@documents.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--title", help="A title, for one file; else the server takes it from the file.")
@connection_options
def add(files: tuple[Path, ...], title: str | None, url: str | None, token: str | None) -> None:
    """Upload files and wait until they can be searched. Exits with 1 where one can't be read."""
    if title and len(files) > 1:
        raise click.UsageError("--title is for one file")
    failed = 0
    with _client(url, token) as client:
        for file in files:
            with file.open("rb") as content:
                data = {"title": title} if title else None
                record = _json(client.post("/v1/documents", files={"file": (file.name, content)}, data=data))
            record = _wait(client, record, file.name)
            if record["status"] == "failed":
                failed += 1
                error = record.get("error") or {}
                reason = f"{error.get('code')}: {error.get('message')}"
                click.echo(f"✗ {file.name}  {clean(reason)}", err=True)
            else:
                pages = "" if record["pages"] is None else f"{record['pages']} pages, "
                click.echo(
                    f"✓ {file.name}  {record['document_id']}  v{record['version']}  {pages}{record['chunks']} passages"
                )
    if failed:
        sys.exit(1)


@documents.command()
@click.argument("document_id")
@connection_options
def show(document_id: str, url: str | None, token: str | None) -> None:
    """Print a document's record as JSON."""
    with _client(url, token) as client:
        click.echo(json.dumps(_json(client.get(f"/v1/documents/{document_id}")), ensure_ascii=False, indent=2))


@documents.command()
@click.argument("document_ids", nargs=-1, required=True)
@connection_options
def delete(document_ids: tuple[str, ...], url: str | None, token: str | None) -> None:
    """Delete documents with all their versions."""
    with _client(url, token) as client:
        for document_id in document_ids:
            _json(client.delete(f"/v1/documents/{document_id}"))
            click.echo(f"✓ {document_id} deleted")


@contextmanager
def _client(url: str | None, token: str | None) -> Iterator[httpx.Client]:
    connection = connect(url, token)
    import httpx

    try:
        with httpx.Client(base_url=connection.url, headers=connection.headers, timeout=60) as client:
            yield client
    except httpx.TransportError as broken:
        raise Failure("server_unreachable", f"the connection to {connection.url} failed: {broken}") from broken


def _all(client: httpx.Client, status: str | None) -> Iterator[dict[str, Any]]:
    offset = 0
    while True:
        query: dict[str, str | int] = {"limit": 200, "offset": offset, **({"status": status} if status else {})}
        page = _json(client.get("/v1/documents", params=query))
        yield from page["items"]
        offset += len(page["items"])
        if not page["items"] or offset >= page["total"]:
            return


def _wait(client: httpx.Client, record: dict[str, Any], name: str) -> dict[str, Any]:
    shown = None
    while record["status"] not in ("ready", "failed"):
        state = f"{record['status']} {record['progress']:.0%}"
        if state != shown and sys.stderr.isatty():
            click.echo(f"\r… {name}  {state:<16}", nl=False, err=True)
            shown = state
        time.sleep(POLL_SECONDS)
        record = _json(client.get(f"/v1/documents/{record['document_id']}"))
    if shown:
        click.echo("\r\x1b[K", nl=False, err=True)
    return record


def _json(response: httpx.Response) -> Any:
    """The body, or None where there is none. Raises Failure for an error answer."""
    if response.is_success:
        return response.json() if response.content else None
    try:
        body = response.json()
    except ValueError:
        body = None
    raise failure_of(body, f"{response.status_code} {response.reason_phrase}")
