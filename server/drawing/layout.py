"""Layered layout (Sugiyama's method): ranks from top to bottom, few crossings.

Deterministic: equal graphs in equal order give equal coordinates. Units are pixels, y grows downwards.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

RANK_GAP = 46.0
ITEM_GAP = 26.0
_SWEEPS = 12

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height of an item."""

    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres of the items, the points each edge passes (from source to target), the size of the whole."""

    centres: dict[str, Point]
    routes: list[list[Point]]
    size: Size


@dataclass(frozen=True, slots=True)
class _Bend:
    """Where the edge `edge` passes the rank `rank`."""

    edge: int
    rank: int


def lay_out(sizes: Mapping[str, Size], edges: Sequence[tuple[str, str]]) -> Layout:
    """Place the items of `sizes` (in the order of the mapping) and route `edges`, whose ends are among them.

    A route begins and ends on the items' borders. An edge against the flow is routed upwards; one from an item to
    itself has an empty route.
    """
    reversed_edges = _against_the_flow(list(sizes), edges)
    flow = [(b, a) if i in reversed_edges else (a, b) for i, (a, b) in enumerate(edges)]
    ranks = _ranks(list(sizes), [pair for pair in flow if pair[0] != pair[1]])
    layers, chains = _layers(ranks, flow)
    _reduce_crossings(layers, chains)
    widths: dict[Hashable, float] = {name: size.width for name, size in sizes.items()}
    xs = _across(layers, chains, widths)
    tops, heights = _down(layers, sizes)
    shift = min(xs[one] - widths.get(one, 0) / 2 for layer in layers for one in layer) if layers else 0.0
    centres = {name: (xs[name] - shift, tops[ranks[name]] + heights[ranks[name]] / 2) for name in sizes}
    right = max((xs[one] - shift + widths.get(one, 0) / 2 for layer in layers for one in layer), default=0.0)
    bottom = tops[-1] + heights[-1] if tops else 0.0
    ports = _ports(chains, xs, widths)
    routes = []
    for at, chain in enumerate(chains):
        route = _route(chain, centres, sizes, xs, shift, tops, heights, ports[at]) if len(chain) > 1 else []
        routes.append(route[::-1] if at in reversed_edges else route)
    return Layout(centres, routes, Size(right, bottom))


def _against_the_flow(names: list[str], edges: Sequence[tuple[str, str]]) -> set[int]:
    """The edges that close a cycle in a depth-first walk, which takes the items in the order given.

    The order is the one in which the graph was written down, so what was written first stays above.
    """
    place = {name: at for at, name in enumerate(names)}
    out: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for at, (source, target) in sorted(enumerate(edges), key=lambda edge: place[edge[1][1]]):
        out[source].append((at, target))
    state: dict[str, int] = {}
    back: set[int] = set()
    for root in names:
        if root in state:
            continue
        state[root] = 1
        stack = [(root, iter(out[root]))]
        while stack:
            name, rest = stack[-1]
            for at, target in rest:
                if state.get(target) == 1 and target != name:
                    back.add(at)
                elif target not in state:
                    state[target] = 1
                    stack.append((target, iter(out[target])))
                    break
            else:
                state[name] = 2
                stack.pop()
    return back


def _ranks(names: list[str], flow: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest path to each item; an item without one goes just above its highest successor."""
    into: dict[str, list[str]] = {name: [] for name in names}
    out: dict[str, list[str]] = {name: [] for name in names}
    for source, target in flow:
        into[target].append(source)
        out[source].append(target)
    waiting = {name: len(into[name]) for name in names}
    ready = [name for name in names if not waiting[name]]
    ranks: dict[str, int] = {}
    for name in ready:  # grows while it is walked
        ranks[name] = max((ranks[source] + 1 for source in into[name]), default=0)
        for target in out[name]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for name in reversed(ready):
        if not into[name] and out[name]:
            ranks[name] = max(ranks[name], min(ranks[target] for target in out[name]) - 1)
    return ranks


def _layers(
    ranks: Mapping[str, int], flow: Sequence[tuple[str, str]]
) -> tuple[list[list[Hashable]], list[list[Hashable]]]:
    """The items and bends of each rank, and of each edge the chain of what it passes."""
    layers: list[list[Hashable]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for name, rank in ranks.items():
        layers[rank].append(name)
    chains: list[list[Hashable]] = []
    for at, (source, target) in enumerate(flow):
        if source == target:
            chains.append([source])
            continue
        bends = [_Bend(at, rank) for rank in range(ranks[source] + 1, ranks[target])]
        for bend in bends:
            layers[bend.rank].append(bend)
        chains.append([source, *bends, target])
    return layers, chains


def _neighbours(
    chains: Sequence[Sequence[Hashable]],
) -> tuple[dict[Hashable, list[Hashable]], dict[Hashable, list[Hashable]]]:
    above: dict[Hashable, list[Hashable]] = defaultdict(list)
    below: dict[Hashable, list[Hashable]] = defaultdict(list)
    for chain in chains:
        for upper, lower in pairwise(chain):
            above[lower].append(upper)
            below[upper].append(lower)
    return above, below


def _reduce_crossings(layers: list[list[Hashable]], chains: Sequence[Sequence[Hashable]]) -> None:
    """Sort each layer by the mean place of its neighbours, down and up in turn; the best order seen is kept."""
    above, below = _neighbours(chains)
    best, fewest = [list(layer) for layer in layers], _crossings(layers, below)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        order = range(1, len(layers)) if down else range(len(layers) - 2, -1, -1)
        for rank in order:
            fixed = {one: at for at, one in enumerate(layers[rank - 1 if down else rank + 1])}
            beside = above if down else below
            layers[rank].sort(key=_mean_places(layers[rank], fixed, beside).__getitem__)
        crossings = _crossings(layers, below)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best


def _mean_places(
    layer: Sequence[Hashable], fixed: Mapping[Hashable, int], beside: Mapping[Hashable, Sequence[Hashable]]
) -> dict[Hashable, float]:
    """Where each of the layer is pulled to by its neighbours in the fixed one; its own place where it has none."""
    places = {one: [fixed[other] for other in beside.get(one, ())] for one in layer}
    return {one: sum(near) / len(near) if near else float(at) for at, (one, near) in enumerate(places.items())}


def _crossings(layers: Sequence[Sequence[Hashable]], below: Mapping[Hashable, Sequence[Hashable]]) -> int:
    total = 0
    for upper, lower in pairwise(layers):
        place = {one: at for at, one in enumerate(lower)}
        ends = [place[other] for one in upper for other in sorted(below.get(one, ()), key=place.__getitem__)]
        total += sum(ends[i] > ends[j] for i in range(len(ends)) for j in range(i + 1, len(ends)))
    return total


def _across(
    layers: Sequence[Sequence[Hashable]], chains: Sequence[Sequence[Hashable]], widths: Mapping[Hashable, float]
) -> dict[Hashable, float]:
    """x of every item and bend: near the mean of its neighbours, in the layer's order, without overlap."""
    above, below = _neighbours(chains)
    xs: dict[Hashable, float] = {}
    for layer in layers:
        at = 0.0
        for one in layer:
            width = widths.get(one, 0.0)
            xs[one] = at + width / 2
            at += width + ITEM_GAP
        for one in layer:
            xs[one] -= (at - ITEM_GAP) / 2
    whole: dict[Hashable, Sequence[Hashable]] = {one: chain for chain in chains for one in chain[1:-1]}
    for sweep in range(_SWEEPS * 4):
        ordered = list(layers) if sweep % 2 == 0 else list(reversed(layers))
        for layer in ordered:
            wanted, weights = [], []
            for one in layer:
                # A long edge is pulled as a whole, which keeps it straight.
                near = whole.get(one) or [*above[one], *below[one]]
                wanted.append(sum(xs[other] for other in near) / len(near) if near else xs[one])
                weights.append(3.0 if one in whole else 2.0)
            for one, x in zip(layer, _apart(layer, wanted, weights, widths), strict=True):
                xs[one] = x
    for chain in [*chains, *reversed(chains)]:
        _straighten(chain[1:-1], layers, xs, widths)
    return xs


def _straighten(
    bends: Sequence[Hashable],
    layers: Sequence[Sequence[Hashable]],
    xs: dict[Hashable, float],
    widths: Mapping[Hashable, float],
) -> None:
    """Move the bends of one edge onto as few vertical lines as their neighbours leave room for."""
    run: list[Hashable] = []
    low, high = -math.inf, math.inf
    for bend in bends:
        left, right = _room(bend, layers, xs, widths)
        if run and max(low, left) > min(high, right):
            _line_up(run, low, high, xs)
            run, low, high = [], -math.inf, math.inf
        run.append(bend)
        low, high = max(low, left), min(high, right)
    if run:
        _line_up(run, low, high, xs)


def _room(
    bend: Hashable, layers: Sequence[Sequence[Hashable]], xs: Mapping[Hashable, float], widths: Mapping[Hashable, float]
) -> tuple[float, float]:
    """Between which x the bend may stand, its neighbours staying where they are."""
    assert isinstance(bend, _Bend), "only bends are moved"
    layer = layers[bend.rank]
    at = layer.index(bend)
    room = ITEM_GAP * 0.6
    left = xs[layer[at - 1]] + widths.get(layer[at - 1], 0.0) / 2 + room if at else -math.inf
    right = xs[layer[at + 1]] - widths.get(layer[at + 1], 0.0) / 2 - room if at + 1 < len(layer) else math.inf
    return left, max(left, right)


def _line_up(run: Sequence[Hashable], low: float, high: float, xs: dict[Hashable, float]) -> None:
    x = min(max(sum(xs[bend] for bend in run) / len(run), low), high)
    for bend in run:
        xs[bend] = x


def _apart(
    layer: Sequence[Hashable], wanted: Sequence[float], weights: Sequence[float], widths: Mapping[Hashable, float]
) -> list[float]:
    """The places nearest to the wanted ones (least squares) that keep order and gaps: pool adjacent violators."""
    offsets = [0.0]
    for left, right in pairwise(layer):
        offsets.append(offsets[-1] + (widths.get(left, 0.0) + widths.get(right, 0.0)) / 2 + ITEM_GAP)
    pools: list[tuple[float, float, int]] = []
    for target, offset, weight in zip(wanted, offsets, weights, strict=True):
        pools.append((target - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, v, m), (b, w, n) = pools[-2], pools[-1]
            pools[-2:] = [((a * v + b * w) / (v + w), v + w, m + n)]
    flat = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(flat, offsets, strict=True)]


def _down(layers: Sequence[Sequence[Hashable]], sizes: Mapping[str, Size]) -> tuple[list[float], list[float]]:
    """Top and height of each rank."""
    heights = [max((sizes[one].height for one in layer if isinstance(one, str)), default=0.0) for layer in layers]
    tops, at = [], 0.0
    for height in heights:
        tops.append(at)
        at += height + RANK_GAP
    return tops, heights


def _ports(
    chains: Sequence[Sequence[Hashable]], xs: Mapping[Hashable, float], widths: Mapping[Hashable, float]
) -> list[tuple[float, float]]:
    """For each edge, how far from the centre it leaves its upper end and enters its lower one, side by side."""
    leaving: dict[Hashable, list[tuple[float, int]]] = defaultdict(list)
    entering: dict[Hashable, list[tuple[float, int]]] = defaultdict(list)
    for at, chain in enumerate(chains):
        if len(chain) > 1:
            leaving[chain[0]].append((xs[chain[1]], at))
            entering[chain[-1]].append((xs[chain[-2]], at))
    starts, ends = [0.0] * len(chains), [0.0] * len(chains)
    for fans, offsets in ((leaving, starts), (entering, ends)):
        for name, fan in fans.items():
            step = min(16.0, widths.get(name, 0.0) * 0.6 / max(1, len(fan) - 1))
            for place, (_, at) in enumerate(sorted(fan)):
                offsets[at] = (place - (len(fan) - 1) / 2) * step
    return list(zip(starts, ends, strict=True))


def _route(
    chain: Sequence[Hashable],
    centres: Mapping[str, Point],
    sizes: Mapping[str, Size],
    xs: Mapping[Hashable, float],
    shift: float,
    tops: Sequence[float],
    heights: Sequence[float],
    ports: tuple[float, float],
) -> list[Point]:
    """From the bottom of the upper end to the top of the lower one; straight down beside what it passes."""
    upper, lower = str(chain[0]), str(chain[-1])
    (x, y), (to_x, to_y) = centres[upper], centres[lower]
    points = [(x + ports[0], y + sizes[upper].height / 2)]
    for bend in chain[1:-1]:
        assert isinstance(bend, _Bend), "between its ends an edge passes bends only"
        points.append((xs[bend] - shift, tops[bend.rank]))
        points.append((xs[bend] - shift, tops[bend.rank] + heights[bend.rank]))
    points.append((to_x + ports[1], to_y - sizes[lower].height / 2))
    return points
