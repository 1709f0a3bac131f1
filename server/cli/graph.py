"""`consilium graph`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from domain.settings import ROOT


@click.command(name="graph")
@click.option("--check", is_flag=True, help="Write nothing; fail where a picture is stale.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs" / "graphs", help="Where to write.")
def graph(check: bool, out: Path) -> None:
    """Draw every compiled graph as Mermaid and SVG."""
    from graphs.build import drawing_graphs
    from server.drawing import mermaid, svg

    stale = []
    for name, compiled in drawing_graphs().items():
        drawn = compiled.get_graph(xray=True)
        for path, content in ((out / f"{name}.mmd", mermaid(drawn)), (out / f"{name}.svg", svg(drawn, title=name))):
            if path.is_file() and path.read_text("utf-8") == content:
                continue
            stale.append(path.name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, "utf-8")
    if check and stale:
        click.echo(f"Stale pictures: {', '.join(stale)}. Fix: run `make graphs` and commit.", err=True)
        sys.exit(1)
    click.echo("The pictures are up to date." if not stale else f"Drew {', '.join(stale)}.")
