"""The pictures: everything is on them, nothing overlaps, equal graphs give equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from graphs.build import drawing_graphs
from server.drawing.files import pictures, stale, write
from server.drawing.layout import Size, lay_out
from server.drawing.svg import draw_svg

SVG = "{http://www.w3.org/2000/svg}"


class Plain(TypedDict):
    text: str


def small() -> Any:
    """A loop, a choice and a subgraph."""

    def node(state: Plain) -> Plain:
        return state

    def choose(state: Plain) -> Literal["work", "__end__"]:
        return "work"

    inner = StateGraph(Plain)
    inner.add_node("read", node)
    inner.add_node("write <&>", node)
    inner.add_edge(START, "read")
    inner.add_edge("read", "write <&>")
    inner.add_edge("write <&>", END)
    graph = StateGraph(Plain)
    graph.add_node("think", node)
    graph.add_node("work", inner.compile())
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", choose)
    graph.add_edge("work", "think")
    return graph.compile()


def test_every_node_edge_and_subgraph_is_on_the_picture() -> None:
    for graph in (small(), *drawing_graphs().values()):
        drawable = graph.get_graph(xray=True)
        root = ElementTree.fromstring(draw_svg(drawable, "picture"))
        assert {g.get("data-node") for g in root.iter(f"{SVG}g") if g.get("data-node")} == set(drawable.nodes)
        drawn = sorted(
            (p.get("data-source"), p.get("data-target"), "choice" in (p.get("class") or ""))
            for p in root.iter(f"{SVG}path")
            if p.get("data-source")
        )
        assert drawn == sorted((edge.source, edge.target, edge.conditional) for edge in drawable.edges)
        assert all(p.get("d") for p in root.iter(f"{SVG}path"))
        frames = {r.get("data-subgraph") for r in root.iter(f"{SVG}rect") if r.get("data-subgraph")}
        assert frames == {name.split(":")[0] for name in drawable.nodes if ":" in name}


def test_everything_is_inside_the_picture() -> None:
    root = ElementTree.fromstring(draw_svg(drawing_graphs()["supervisor"].get_graph(xray=True), "supervisor"))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        assert -0.1 <= x <= x + float(rect.get("width", 0)) <= width
        assert -0.1 <= y <= y + float(rect.get("height", 0)) <= height


names = st.integers(0, 9).map(str)


@given(st.lists(st.tuples(names, names), max_size=25), st.integers(1, 10))
def test_no_two_items_overlap_and_edges_join_their_borders(edges: list[tuple[str, str]], count: int) -> None:
    sizes = {str(n): Size(40 + 13 * n, 20 + 7 * (n % 4)) for n in range(count)}
    edges = [(a, b) for a, b in edges if a in sizes and b in sizes]
    layout = lay_out(sizes, edges)
    assert layout == lay_out(sizes, edges)
    placed = list(layout.centres.items())
    for at, (one, (x, y)) in enumerate(placed):
        for other, (x2, y2) in placed[at + 1 :]:
            apart_x = abs(x - x2) - (sizes[one].width + sizes[other].width) / 2
            apart_y = abs(y - y2) - (sizes[one].height + sizes[other].height) / 2
            assert max(apart_x, apart_y) > 1
    for (source, target), route in zip(edges, layout.routes, strict=True):
        if source == target:
            assert route == []
            continue
        for name, (x, y) in ((source, route[0]), (target, route[-1])):
            cx, cy = layout.centres[name]
            assert abs(abs(y - cy) - sizes[name].height / 2) < 0.01
            assert abs(x - cx) <= sizes[name].width / 2


def test_check_finds_what_is_missing_changed_and_left_over(tmp_path: Path) -> None:
    files = pictures({"small": small()})
    assert sorted(files) == ["README.md", "small.mmd", "small.svg"]
    assert stale(files, tmp_path) == sorted(files)
    assert write(files, tmp_path) == sorted(files)
    assert stale(files, tmp_path) == []
    (tmp_path / "small.svg").write_text("<svg/>")
    (tmp_path / "gone.mmd").write_text("graph TD;")
    assert stale(files, tmp_path) == ["gone.mmd", "small.svg"]
    write(files, tmp_path)
    assert stale(files, tmp_path) == []
    assert not (tmp_path / "gone.mmd").exists()
