"""The picture of a graph with a run's way drawn into it. Knows no widgets."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Final

from console.path import Path, Step, taken_edges

SVG: Final = "{http://www.w3.org/2000/svg}"
_STYLE: Final = re.compile(r"<style>.*?</style>", re.S)
_BADGE_HEIGHT: Final = 16.0


def draw(
    picture: str, path: Path | None, badges: Mapping[str, str], chosen: str | None = None, *, scale: float | None = None
) -> str:
    """The picture without its own style, nodes and edges of the path marked, a badge at each node that has one.

    `chosen` is a node to be pointed out, `scale` the width as a part of what there is room for; None fits it in.
    Raises xml.etree.ElementTree.ParseError for what is no picture.
    """
    ET.register_namespace("", SVG[1:-1])
    root = ET.fromstring(_STYLE.sub("", picture))  # noqa: S314 - see above
    root.set("class", f"drawing{' with-path' if path is not None and path.steps else ''}")
    if scale is not None:
        root.set("style", f"width:{scale * 100:.0f}%;max-width:none")
    if path is not None:
        _mark_edges(root, path)
        _mark_nodes(root, path.visits, badges, chosen)
    return ET.tostring(root, encoding="unicode")


def _mark_edges(root: ET.Element, path: Path) -> None:
    edges = {
        (str(line.get("data-source")), str(line.get("data-target"))): group
        for group in root.iter(f"{SVG}g")
        for line in group.findall(f"{SVG}path[@data-source]")
    }
    for ends in taken_edges(path, edges):
        edges[ends].set("class", "taken")


def _mark_nodes(
    root: ET.Element, visits: Mapping[str, list[Step]], badges: Mapping[str, str], chosen: str | None
) -> None:
    for group in root.iter(f"{SVG}g"):
        node = group.get("data-node")
        if node is None or not (node in visits or node in ("__start__", "__end__")):
            continue
        marks = [str(group.get("class")), "visited"] + (["chosen"] if node == chosen else [])
        marks += ["asked"] if any(step.asked for step in visits.get(node, ())) else []
        group.set("class", " ".join(marks))
        rect = group.find(f"{SVG}rect")
        if rect is not None and badges.get(node):
            _badge(group, rect, badges[node])


def _badge(group: ET.Element, rect: ET.Element, label: str) -> None:
    """A small label over the upper edge of a node."""
    width = len(label) * 6.1 + 12
    middle = float(rect.get("x", 0)) + float(rect.get("width", 0)) / 2
    top = float(rect.get("y", 0)) - _BADGE_HEIGHT / 2 - 2
    badge = ET.SubElement(group, f"{SVG}g", {"class": "badge"})
    ET.SubElement(
        badge,
        f"{SVG}rect",
        {
            "x": f"{middle - width / 2:.1f}",
            "y": f"{top:.1f}",
            "width": f"{width:.1f}",
            "height": f"{_BADGE_HEIGHT}",
            "rx": "8",
        },
    )
    letters = ET.SubElement(
        badge, f"{SVG}text", {"x": f"{middle:.1f}", "y": f"{top + 11.6:.1f}", "text-anchor": "middle"}
    )
    letters.text = label
