"""The pictures as files of docs/graphs: written by `consilium graph`, compared by `consilium graph --check`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langgraph.graph.state import CompiledStateGraph

from server.drawing.svg import draw_svg


def pictures(graphs: Mapping[str, CompiledStateGraph[Any, Any, Any, Any]]) -> dict[str, str]:
    """File name -> content: `NAME.mmd` and `NAME.svg` of every graph, subgraphs unfolded, and a README.md of all."""
    files: dict[str, str] = {}
    for name, graph in sorted(graphs.items()):
        drawable = graph.get_graph(xray=True)
        files[f"{name}.mmd"] = drawable.draw_mermaid()
        files[f"{name}.svg"] = draw_svg(drawable, name)
    shown = "\n".join(f"## {name}\n\n![{name}]({name}.svg)\n\n[Mermaid]({name}.mmd)\n" for name in sorted(graphs))
    files["README.md"] = f"# The graphs, as they are compiled\n\nDrawn by `make graphs`; don't edit by hand.\n\n{shown}"
    return files


def write(files: Mapping[str, str], directory: Path) -> list[str]:
    """Bring `directory` to `files`, removing pictures of graphs that are gone. Returns the names that changed."""
    changed = stale(files, directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in files:
            (directory / name).write_text(files[name], "utf-8")
        else:
            (directory / name).unlink()
    return changed


def stale(files: Mapping[str, str], directory: Path) -> list[str]:
    """The names in `directory` that are missing, differ, or belong to no graph."""
    present = {
        path.name: path.read_text("utf-8")
        for path in sorted(directory.glob("*"))
        if path.suffix in (".mmd", ".svg", ".md")
    }
    return sorted(name for name in files.keys() | present.keys() if files.get(name) != present.get(name))
