"""The way a run took through its graph: from the checkpoints it left and the model calls it made. Knows no widgets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from console.transcript import MAIN, OWN_SPECIALIST

_MODEL_NODES: Final = frozenset({"model", "summarise", "structure"})
_SLACK: Final = timedelta(milliseconds=250)
"""A call is recorded a little after the node that made it began, and may be just after it ended."""


@dataclass(slots=True)
class Step:
    """One node at work. `ms` is from the checkpoint before it to the one after, so of nodes side by side the longest's."""

    node: str
    """As the picture names it: `model`, `legal_agent:model`."""
    agent: str
    place: str
    """The part of the picture it is in: the agent's own, or the one that an organisation's own specialists share."""
    began: datetime
    ended: datetime
    calls: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def ms(self) -> int:
        return round((self.ended - self.began).total_seconds() * 1000)

    @property
    def tokens(self) -> tuple[int, int] | None:
        """Prompt and completion of its model calls; None where it made none."""
        return _tokens(self.calls) if self.calls else None

    @property
    def deep(self) -> bool:
        """Whether a specialist did it."""
        return self.agent != MAIN


@dataclass(slots=True)
class Path:
    """All steps in the order in which they began, and the calls that belong to none."""

    steps: list[Step]
    other_calls: list[Mapping[str, Any]]

    @property
    def ms(self) -> int:
        """From the first step's beginning to the last one's end."""
        if not self.steps:
            return 0
        span = max(step.ended for step in self.steps) - min(step.began for step in self.steps)
        return round(span.total_seconds() * 1000)

    @property
    def visits(self) -> dict[str, list[Step]]:
        """The steps of each node."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            found.setdefault(step.node, []).append(step)
        return found


def path_of(
    root: Sequence[Mapping[str, Any]],
    children: Iterable[tuple[str, Sequence[Mapping[str, Any]]]],
    calls: Iterable[Mapping[str, Any]],
    *,
    drawn: Collection[str] | None = None,
) -> Path:
    """The path of one run: states of its thread and of its children's by agent (newest first, of this run alone), its calls.

    `drawn` are the agents that the picture has a part of its own for; None is all of them.
    """
    steps = _steps(root, MAIN, MAIN)
    for agent, states in children:
        steps += _steps(states, agent, agent if drawn is None or agent in drawn else OWN_SPECIALIST)
    # A specialist's node spans all that happens in it: it comes before its own steps.
    steps.sort(key=lambda step: (step.began, step.deep, step.ended))
    other: list[Mapping[str, Any]] = []
    for call in calls:
        step = _maker(steps, call)
        (step.calls if step is not None else other).append(call)
    return Path(steps, other)


def taken_edges(path: Path, edges: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of the graph's edges the run went along: those from a step to one that began when it ended."""
    known, taken = set(edges), set()
    for agent, place in {(step.agent, step.place) for step in path.steps}:
        own = [step for step in path.steps if step.agent == agent and not _is_frame(step, path)]
        taken |= {(one.node, other.node) for one, other in pairwise(own)}
        if own:
            taken |= {(f"{_prefix(place)}__start__", own[0].node), (own[-1].node, f"{_prefix(place)}__end__")}
            if agent != MAIN:
                taken |= _crossings(path, place, own[0].node, own[-1].node)
    return taken & known


def _crossings(path: Path, place: str, entry: str, leave: str) -> set[tuple[str, str]]:
    """How the supervisor went into a specialist and out again."""
    main = [step for step in path.steps if step.agent == MAIN]
    crossed = set()
    for before, frame in pairwise(main):
        if frame.node == place:
            crossed.add((before.node, entry))
    for frame, after in pairwise(main):
        if frame.node == place:
            crossed.add((leave, after.node))
    # Specialists side by side stand next to each other in the list: all came from and went to the same nodes.
    for at, step in enumerate(main):
        if step.node == place:
            earlier = next((one for one in reversed(main[:at]) if not _is_frame(one, path)), None)
            later = next((one for one in main[at + 1 :] if not _is_frame(one, path)), None)
            crossed |= {(earlier.node, entry)} if earlier is not None else set()
            crossed |= {(leave, later.node)} if later is not None else set()
    return crossed


def _is_frame(step: Step, path: Path) -> bool:
    """Whether the step is a specialist as the supervisor sees it, drawn as a frame."""
    return step.agent == MAIN and any(other.place == step.node for other in path.steps)


def _steps(states: Sequence[Mapping[str, Any]], agent: str, place: str) -> list[Step]:
    steps = []
    for before, after in pairwise(sorted(states, key=lambda state: str(state["created_at"]))):
        for task in before.get("tasks") or ():
            name = str(task["name"])
            if not name.startswith("__"):
                steps.append(Step(f"{_prefix(place)}{name}", agent, place, _at(before), _at(after)))
    return steps


def _prefix(place: str) -> str:
    return "" if place == MAIN else f"{place}:"


def _at(state: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(state["created_at"]).replace("Z", "+00:00"))


def _maker(steps: Sequence[Step], call: Mapping[str, Any]) -> Step | None:
    """The step a call was made in: of its agent, at work when the call ended."""
    ended = datetime.fromisoformat(str(call["ended_at"]).replace("Z", "+00:00"))
    able = [
        step
        for step in steps
        if step.agent == call.get("agent")
        and step.node.rpartition(":")[2] in _MODEL_NODES
        and step.began <= ended <= step.ended + _SLACK
    ]
    return max(able, key=lambda step: step.began, default=None)


def _tokens(calls: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    attempts = [attempt for call in calls for attempt in call.get("attempts") or ()]
    return (
        sum(attempt.get("prompt_tokens") or 0 for attempt in attempts),
        sum(attempt.get("completion_tokens") or 0 for attempt in attempts),
    )
