"""`consilium graph`."""

from __future__ import annotations

from pathlib import Path

import click

from server.cli.terminal import Failure


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 where a picture is not that of the code.")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), help="[default: docs/graphs]")
def graph(check: bool, directory: Path | None) -> None:
    """Draw every compiled graph as Mermaid (.mmd) and SVG."""
    from domain.settings import ROOT
    from graphs.build import drawing_graphs
    from server.drawing.files import pictures, stale, write

    directory = directory or ROOT / "docs" / "graphs"
    files = pictures(drawing_graphs())
    if check:
        if names := stale(files, directory):
            raise Failure("stale_graphs", f"{', '.join(names)}: not as the code has it. Run `make graphs` and commit.")
        click.echo(f"{len(files)} files in {directory.name} are up to date.")
        return
    changed = write(files, directory)
    click.echo(f"{directory}: {', '.join(changed)} written." if changed else f"{directory}: nothing has changed.")
