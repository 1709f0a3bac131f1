"""The way of a run from checkpoints and calls, and how it is drawn into the picture."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from console.drawing import draw
from console.path import Part, Path, Pause, answers, path_of, taken_edges

START = datetime(2026, 1, 1, tzinfo=UTC)


def state(ms: int, *nodes: str) -> dict[str, Any]:
    return {"created_at": (START + timedelta(milliseconds=ms)).isoformat(), "tasks": [{"name": node} for node in nodes]}


def call(agent: str, ms: int, prompt: int, completion: int) -> dict[str, Any]:
    attempts = [
        {"prompt_tokens": prompt, "completion_tokens": completion},
        {"prompt_tokens": None, "completion_tokens": None},
    ]
    return {"agent": agent, "ended_at": (START + timedelta(milliseconds=ms)).isoformat(), "attempts": attempts}


def one_run(
    root: list[dict[str, Any]],
    children: list[tuple[str, list[dict[str, Any]]]],
    calls: list[dict[str, Any]],
    drawn: set[str] | None = None,
) -> Path:
    named = [(f"{agent}-1", agent, states) for agent, states in children]
    return path_of([Part("r1", START, None, root, named, calls)], drawn=drawn)


ROOT = [
    state(0, "__start__"), state(1, "context"), state(10, "model"), state(60, "delegate"), state(62, "legal_agent"),
    state(200, "collect"), state(203, "model"), state(300, "finish"), state(305),
][::-1]  # fmt: skip
CHILD = [state(70, "__start__"), state(71, "context"), state(80, "model"), state(180, "finish"), state(190)][::-1]
EDGES = [
    ("__start__", "context"), ("context", "model"), ("model", "delegate"), ("delegate", "legal_agent:context"),
    ("delegate", "marketing_agent:context"), ("legal_agent:context", "legal_agent:model"), ("legal_agent:model", "legal_agent:tools"),
    ("legal_agent:model", "legal_agent:finish"), ("legal_agent:finish", "collect"), ("collect", "model"), ("model", "finish"),
    ("finish", "__end__"),
]  # fmt: skip


def test_steps_have_times_and_the_tokens_of_their_calls() -> None:
    calls = [
        call("main", 59, 100, 10),
        call("legal_agent", 181, 200, 20),
        call("main", 290, 300, 30),
        call("main", 9000, 1, 1),
    ]
    path = one_run(ROOT, [("legal_agent", CHILD)], calls)
    told = [(step.node, step.ms, step.tokens) for step in path.steps]
    assert told == [
        ("context", 9, None), ("model", 50, (100, 10)), ("delegate", 2, None), ("legal_agent", 138, None),
        ("legal_agent:context", 9, None), ("legal_agent:model", 100, (200, 20)), ("legal_agent:finish", 10, None),
        ("collect", 3, None), ("model", 97, (300, 30)), ("finish", 5, None),
    ]  # fmt: skip
    assert (path.ms, len(path.other_calls), len(path.visits["model"])) == (304, 1, 2)


def test_the_edges_that_were_taken() -> None:
    path = one_run(ROOT, [("legal_agent", CHILD)], [])
    assert set(EDGES) - taken_edges(path, EDGES) == {
        ("delegate", "marketing_agent:context"),
        ("legal_agent:model", "legal_agent:tools"),
    }


def test_specialists_side_by_side_were_both_gone_into() -> None:
    root = [state(0, "delegate"), state(2, "legal_agent", "marketing_agent"), state(100, "collect"), state(101)]
    other = [state(5, "context"), state(90)]
    path = one_run(root, [("legal_agent", CHILD), ("marketing_agent", other)], [])
    edges = [
        ("delegate", "legal_agent:context"),
        ("delegate", "marketing_agent:context"),
        ("marketing_agent:context", "collect"),
    ]
    assert taken_edges(path, edges) == set(edges)


def test_a_run_that_left_nothing_has_no_path() -> None:
    path = one_run([], [], [call("main", 1, 2, 3)])
    assert (path.steps, path.ms, len(path.other_calls)) == ([], 0, 1)


PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><style>.node{}</style>
<g><title>t</title><path class="edge choice" data-source="context" data-target="model" d="M0,0"/><path class="tip" d="M1,1"/></g>
<g class="node" data-node="context"><rect x="0" y="0" width="80" height="34"/><text>context</text></g>
<g class="node" data-node="model"><rect x="0" y="50" width="80" height="34"/><text>model</text></g>
<g class="node" data-node="tools"><rect x="0" y="90" width="80" height="34"/><text>tools</text></g></svg>"""


def test_the_path_is_drawn_into_the_picture() -> None:
    drawn = draw(PICTURE, one_run(ROOT, [], []), {"model": "147 ms <&>"}, "model")
    assert "<style>" not in drawn
    assert 'class="drawing with-path"' in drawn
    assert drawn.count('class="taken"') == 1
    assert 'class="node visited chosen" data-node="model"' in drawn
    assert 'class="node" data-node="tools"' in drawn
    assert "147 ms &lt;&amp;&gt;" in drawn


def test_without_a_run_it_is_the_picture_alone() -> None:
    drawn = draw(PICTURE, None, {})
    assert ("visited" in drawn, "with-path" in drawn) == (False, False)


def test_an_organisations_own_specialist_is_drawn_where_they_all_work() -> None:
    own = [
        {**one, "tasks": [{"name": "organization_specialist"}]} if one["tasks"] == [{"name": "legal_agent"}] else one
        for one in ROOT
    ]
    path = one_run(own, [("tax_agent", CHILD)], [call("tax_agent", 181, 200, 20)], drawn={"legal_agent"})
    assert [(step.node, step.agent, step.tokens) for step in path.steps if step.deep] == [
        ("organization_specialist:context", "tax_agent", None),
        ("organization_specialist:model", "tax_agent", (200, 20)),
        ("organization_specialist:finish", "tax_agent", None),
    ]
    renamed = [tuple(end.replace("legal_agent", "organization_specialist") for end in edge) for edge in EDGES]
    edges = [(one, other) for one, other in renamed]
    assert ("organization_specialist:finish", "collect") in taken_edges(path, edges)


def asking(ms: int, *nodes: str) -> dict[str, Any]:
    """A state at which these nodes stopped to ask a person."""
    return {**state(ms), "tasks": [{"name": node, "interrupts": [{"id": "i1"}]} for node in nodes]}


def after(ms: int) -> datetime:
    return START + timedelta(milliseconds=ms)


def test_a_turn_with_a_decision_is_one_way() -> None:
    before = Part(
        "r1", START, after(100),
        [state(0, "model"), state(50, "delegate"), asking(60, "legal_agent")][::-1],
        [("c1", "legal_agent", [state(65, "model"), asking(80, "approval")][::-1])],
        [call("main", 49, 100, 10)],
    )  # fmt: skip
    decided = Part(
        "r2", after(5000), after(5200),
        [state(5100, "collect"), state(5110, "finish"), state(5120)][::-1],
        [("c1", "legal_agent", [state(5010, "tools"), state(5060, "finish"), state(5090)][::-1])],
    )  # fmt: skip
    path = path_of([before, decided])
    told = [
        (one.run_id, one.ms) if isinstance(one, Pause) else (one.node, one.ms, one.asked)
        for one in path.way
    ]  # fmt: skip
    assert told == [
        ("model", 50, False), ("delegate", 10, False), ("legal_agent", 40, True), ("legal_agent:model", 15, False),
        ("legal_agent:approval", 20, True), ("r2", 4900), ("legal_agent", 100, False), ("legal_agent:approval", 10, False),
        ("legal_agent:tools", 50, False), ("legal_agent:finish", 30, False), ("collect", 10, False), ("finish", 10, False),
    ]  # fmt: skip
    assert path.ms == 5120 - 4900
    assert [step.tokens for step in path.steps if step.calls] == [(100, 10)]
    edges = {
        ("delegate", "legal_agent:model"), ("legal_agent:model", "legal_agent:approval"), ("legal_agent:approval", "legal_agent:tools"),
        ("legal_agent:tools", "legal_agent:finish"), ("legal_agent:finish", "collect"), ("collect", "finish"),
    }  # fmt: skip
    assert taken_edges(path, edges) == edges
    drawn = draw(PICTURE.replace("tools", "legal_agent:approval"), path, {})
    assert 'class="node visited asked" data-node="legal_agent:approval"' in drawn


def test_runs_that_go_on_after_a_decision_belong_to_the_answer_before() -> None:
    def run(name: str, at: int, resume: Any = None) -> dict[str, Any]:
        return {"run_id": name, "created_at": after(at).isoformat(), "kwargs": {"command": {"resume": resume}}}

    runs = [run("d", 40), run("c", 30, {"i2": 1}), run("b", 20, {"i1": 1}), run("a", 10)]
    assert [[one["run_id"] for one in turn] for turn in answers(runs)] == [["a", "b", "c"], ["d"]]
    assert [[one["run_id"] for one in turn] for turn in answers([{"run_id": "x", "created_at": "2026"}])] == [["x"]]
