"""A compiled graph as an SVG picture: rounded nodes, a frame around each subgraph, dashed edges for choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from langchain_core.runnables.graph import Edge, Graph

from server.drawing.layout import Layout, Point, Size, lay_out

FONT = 13
NODE_HEIGHT = 34.0
PADDING = 18.0
TITLE = 26.0
"""Height of a frame's heading."""
MARGIN = 20.0
MIN_WIDTH = 260.0
"""Room for the legend."""
_LABELS = {"__start__": "start", "__end__": "end"}

STYLE = """
.back{fill:#ffffff}.frame{fill:#f6f8fa;stroke:#d0d7de}.heading{fill:#57606a;font-weight:600}
.node rect{fill:#ffffff;stroke:#8c959f}.node text{fill:#1f2328}
.end rect{fill:#0a5c8a;stroke:#0a5c8a}.end text{fill:#ffffff}
.edge{fill:none;stroke:#6e7781;stroke-width:1.4}.choice{stroke-dasharray:5 4}.tip{fill:#6e7781}.note{fill:#57606a}
@media(prefers-color-scheme:dark){
.back{fill:#0d1117}.frame{fill:#161b22;stroke:#30363d}.heading{fill:#9da7b3}
.node rect{fill:#21262d;stroke:#6e7681}.node text{fill:#e6edf3}
.end rect{fill:#1f6f9f;stroke:#1f6f9f}.end text{fill:#ffffff}
.edge{stroke:#8b949e}.tip{fill:#8b949e}.note{fill:#9da7b3}}
""".strip()


@dataclass(frozen=True, slots=True)
class _Inside:
    """A subgraph laid out by itself."""

    name: str
    nodes: list[str]
    layout: Layout
    edges: list[Edge]

    @property
    def _indent(self) -> float:
        """Left of the inner layout: edges come in from above and must pass right of the heading."""
        entry = min(self.layout.centres.values(), key=lambda centre: (centre[1], centre[0]))[0]
        return max(PADDING, 14 + _width(self.name) * 1.1 + 18 - entry)

    @property
    def size(self) -> Size:
        return Size(self._indent + self.layout.size.width + PADDING, self.layout.size.height + TITLE + 2 * PADDING)

    def origin(self, centre: Point) -> Point:
        """The place of the inner layout's corner when the frame is centred there."""
        return centre[0] - self.size.width / 2 + self._indent, centre[1] - self.size.height / 2 + TITLE + PADDING


def draw_svg(graph: Graph, title: str) -> str:
    """The picture of `graph` (as `get_graph(xray=True)` gives it).

    Nodes carry `data-node`, edges `data-source` and `data-target`, frames `data-subgraph`.
    """
    frames = _frames(graph)
    owner = {node: frame.name for frame in frames.values() for node in frame.nodes}
    sizes = {name: frames[name].size if name in frames else _node_size(name) for name in _items(graph, owner)}
    outer = [
        edge
        for edge in graph.edges
        if owner.get(edge.source) is None or owner.get(edge.source) != owner.get(edge.target)
    ]
    # Several edges between the same two items are laid out as one and drawn apart.
    layout = lay_out(sizes, [(owner.get(e.source, e.source), owner.get(e.target, e.target)) for e in outer])

    places: dict[str, Point] = {}
    frame_svg, edge_svg, heading_svg = [], [], []
    for name, centre in layout.centres.items():
        if name not in frames:
            places[name] = centre
            continue
        frame = frames[name]
        left, top = frame.origin(centre)
        places |= {node: (left + x, top + y) for node, (x, y) in frame.layout.centres.items()}
        frame_svg.append(_frame(frame, centre))
        heading_svg.append(_heading(frame, centre))
        for edge, route in zip(frame.edges, frame.layout.routes, strict=True):
            edge_svg.append(_edge(edge, [(left + x, top + y) for x, y in route]))
    for edge, route in zip(outer, layout.routes, strict=True):
        edge_svg.append(_edge(edge, _to_inner(edge, route, places, owner)))
    nodes = [_node(node, places[node], owner) for node in graph.nodes]
    return _document(title, layout.size, [*frame_svg, *edge_svg, *heading_svg, *nodes])


def _frames(graph: Graph) -> dict[str, _Inside]:
    members: dict[str, list[str]] = {}
    for node in graph.nodes:
        if ":" in node:
            members.setdefault(node.split(":", 1)[0], []).append(node)
    frames = {}
    for name, nodes in members.items():
        edges = [edge for edge in graph.edges if edge.source in nodes and edge.target in nodes]
        layout = lay_out({node: _node_size(node) for node in nodes}, [(e.source, e.target) for e in edges])
        frames[name] = _Inside(name, nodes, layout, edges)
    return frames


def _items(graph: Graph, owner: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(owner.get(node, node) for node in graph.nodes))


def _label(node: str) -> str:
    name = node.split(":", 1)[-1]
    return _LABELS.get(name, name)


def _width(text: str) -> float:
    return len(text) * FONT * 0.58


def _node_size(node: str) -> Size:
    return Size(max(64.0, round(_width(_label(node)) + 28)), NODE_HEIGHT)


def _to_inner(edge: Edge, route: Sequence[Point], places: Mapping[str, Point], owner: Mapping[str, str]) -> list[Point]:
    """A route between frames, led straight through their borders to the nodes inside that it begins and ends at."""
    points = list(route)
    if not points:
        return points
    if edge.source in owner:
        points[:1] = _through(points[0], points[1], places[edge.source])
    if edge.target in owner:
        points[-1:] = reversed(_through(points[-1], points[-2], places[edge.target]))
    return points


def _through(border: Point, beyond: Point, node: Point) -> list[Point]:
    """From the node's side that faces `beyond` to the frame's border."""
    side = NODE_HEIGHT / 2 if beyond[1] > border[1] else -NODE_HEIGHT / 2
    return [(node[0], node[1] + side), (node[0], border[1])]


def _path(points: Sequence[Point]) -> str:
    """A smooth line: each stretch leaves and arrives vertically."""
    parts = [f"M{_n(points[0][0])},{_n(points[0][1])}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        if abs(x - to_x) < 0.5:
            parts.append(f"L{_n(to_x)},{_n(to_y)}")
        else:
            middle = (y + to_y) / 2
            parts.append(f"C{_n(x)},{_n(middle)} {_n(to_x)},{_n(middle)} {_n(to_x)},{_n(to_y)}")
    return " ".join(parts)


def _edge(edge: Edge, route: Sequence[Point]) -> str:
    kind = "edge choice" if edge.conditional else "edge"
    ends = f'data-source="{escape(edge.source)}" data-target="{escape(edge.target)}"'
    if len(route) < 2:
        return f'<path class="{kind}" {ends} d=""/>'
    # The line stops short of the arrow's tip, so that it doesn't show beside it.
    x, y = route[-1]
    down = 1 if y > route[-2][1] else -1
    line = [*route[:-1], (x, y - down * 7)]
    tip = f"M{_n(x)},{_n(y)} l-4.5,{-down * 9} l9,0 z"
    choice = f" ({edge.data})" if edge.data else ""
    label = f"<title>{escape(f'{edge.source} → {edge.target}{choice}')}</title>"
    return f'<g>{label}<path class="{kind}" {ends} d="{_path(line)}"/><path class="tip" d="{tip}"/></g>'


def _node(node: str, centre: Point, owner: Mapping[str, str]) -> str:
    size = _node_size(node)
    terminal = node in _LABELS
    radius = NODE_HEIGHT / 2 if terminal else 8
    x, y = centre[0] - size.width / 2, centre[1] - size.height / 2
    return (
        f'<g class="node{" end" if terminal else ""}" data-node="{escape(node)}"><title>{escape(node)}</title>'
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(size.width)}" height="{_n(size.height)}" rx="{_n(radius)}"/>'
        f'<text x="{_n(centre[0])}" y="{_n(centre[1] + FONT * 0.35)}" text-anchor="middle">'
        f"{escape(_label(node))}</text></g>"
    )


def _corner(frame: _Inside, centre: Point) -> Point:
    return centre[0] - frame.size.width / 2, centre[1] - frame.size.height / 2


def _frame(frame: _Inside, centre: Point) -> str:
    x, y = _corner(frame, centre)
    return (
        f'<rect class="frame" data-subgraph="{escape(frame.name)}" x="{_n(x)}" y="{_n(y)}" '
        f'width="{_n(frame.size.width)}" height="{_n(frame.size.height)}" rx="12"/>'
    )


def _heading(frame: _Inside, centre: Point) -> str:
    x, y = _corner(frame, centre)
    return f'<text class="heading" x="{_n(x + 14)}" y="{_n(y + 22)}">{escape(frame.name)}</text>'


def _document(title: str, size: Size, body: Sequence[str]) -> str:
    width, height = max(size.width, MIN_WIDTH) + 2 * MARGIN, size.height + 2 * MARGIN + 24
    left = (width - size.width) / 2
    note = "solid: always  ·  dashed: chosen while it runs"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_n(width)} {_n(height)}" '
            f'width="{_n(width)}" height="{_n(height)}" font-family="system-ui,Segoe UI,Helvetica,Arial,sans-serif" '
            f'font-size="{FONT}">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="back" width="{_n(width)}" height="{_n(height)}" rx="12"/>',
            f'<g transform="translate({_n(left)},{_n(MARGIN)})">',
            *body,
            "</g>",
            f'<text class="note" x="{_n(MARGIN)}" y="{_n(height - 14)}" font-size="11">{note}</text>',
            "</svg>",
            "",
        ]
    )


def _n(value: float) -> str:
    """A coordinate with at most one decimal, never -0."""
    return f"{round(value, 1) + 0.0:g}"
