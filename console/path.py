"""The way a turn took through its graph: from the checkpoints its runs left and the model calls they made. Knows no widgets."""

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


@dataclass(frozen=True, slots=True)
class Part:
    """One run of a turn: the first, or one that went on after a decision. States are of this run alone; `children` are a
    conversation's id, its agent, its states. `ended` is None while it is under way."""

    run_id: str
    began: datetime
    ended: datetime | None
    root: Sequence[Mapping[str, Any]]
    children: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]] = ()
    calls: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Pause:
    """Where the turn stood until a person had decided; `run_id` is of the run that went on with it."""

    run_id: str
    began: datetime
    ended: datetime

    @property
    def ms(self) -> int:
        return round((self.ended - self.began).total_seconds() * 1000)


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
    asked: bool = False
    """Whether it stopped here, to ask a person."""
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
    """All steps in the order in which they began, the pauses between them, and the calls that belong to none."""

    steps: list[Step]
    other_calls: list[Mapping[str, Any]]
    pauses: list[Pause] = field(default_factory=list)

    @property
    def ms(self) -> int:
        """From the first step's beginning to the last one's end, without the pauses."""
        if not self.steps:
            return 0
        span = max(step.ended for step in self.steps) - min(step.began for step in self.steps)
        return round(span.total_seconds() * 1000) - sum(pause.ms for pause in self.pauses)

    @property
    def visits(self) -> dict[str, list[Step]]:
        """The steps of each node."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            found.setdefault(step.node, []).append(step)
        return found

    @property
    def way(self) -> list[Step | Pause]:
        """Steps and pauses in their order."""
        return sorted([*self.pauses, *self.steps], key=lambda one: one.ended if isinstance(one, Pause) else one.began)


def answers(runs: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """A thread's runs by the answer they worked at, both oldest first: one that goes on after a decision is with the run before."""
    found: list[list[Mapping[str, Any]]] = []
    for run in sorted(runs, key=lambda run: str(run["created_at"])):
        if resumed(run) and found:
            found[-1].append(run)
        else:
            found.append([run])
    return found


def resumed(run: Mapping[str, Any]) -> bool:
    """Whether a run went on with what a person had decided."""
    command = (run.get("kwargs") or {}).get("command") or {}
    return command.get("resume") is not None


def path_of(parts: Sequence[Part], *, drawn: Collection[str] | None = None) -> Path:
    """The path of a turn from its runs, oldest first.

    `drawn` are the agents that the picture has a part of its own for; None is all of them.
    """
    steps = _steps([(part, part.root) for part in parts], MAIN, MAIN)
    agents = {child: agent for part in parts for child, agent, _ in part.children}
    for child, agent in agents.items():
        own = [(part, next((states for one, _, states in part.children if one == child), ())) for part in parts]
        steps += _steps(own, agent, agent if drawn is None or agent in drawn else OWN_SPECIALIST)
    # A specialist's node spans all that happens in it: it comes before its own steps.
    steps.sort(key=lambda step: (step.began, step.deep, step.ended))
    other: list[Mapping[str, Any]] = []
    for part in parts:
        for call in part.calls:
            step = _maker(steps, call)
            (step.calls if step is not None else other).append(call)
    pauses = [Pause(after.run_id, one.ended, after.began) for one, after in pairwise(parts) if one.ended is not None]
    return Path(steps, other, pauses)


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


def _steps(parts: Iterable[tuple[Part, Sequence[Mapping[str, Any]]]], agent: str, place: str) -> list[Step]:
    """Of one conversation. What stopped to ask a person is a step up to there and, with what was decided, another from there."""
    steps: list[Step] = []
    asking: list[Mapping[str, Any]] = []
    for part, found in parts:
        if not found:
            continue
        states = sorted(found, key=lambda state: str(state["created_at"]))
        if asking:
            states.insert(0, {"created_at": part.began.isoformat(), "tasks": asking})
        for before, after in pairwise(states):
            steps += [_step(task, agent, place, _at(before), _at(after)) for task in _tasks(before)]
        asking = [task for task in _tasks(states[-1]) if task.get("interrupts")]
        if part.ended is not None:
            steps += [_step(task, agent, place, _at(states[-1]), part.ended, asked=True) for task in asking]
    return steps


def _tasks(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [task for task in state.get("tasks") or () if not str(task["name"]).startswith("__")]


def _step(
    task: Mapping[str, Any], agent: str, place: str, began: datetime, ended: datetime, *, asked: bool = False
) -> Step:
    return Step(f"{_prefix(place)}{task['name']}", agent, place, began, max(began, ended), asked)


def _prefix(place: str) -> str:
    return "" if place == MAIN else f"{place}:"


def _at(state: Mapping[str, Any]) -> datetime:
    return instant(state["created_at"])


def instant(value: Any) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(str(value).replace("Z", "+00:00"))


def _maker(steps: Sequence[Step], call: Mapping[str, Any]) -> Step | None:
    """The step a call was made in: of its agent, at work when the call ended."""
    ended = instant(call["ended_at"])
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
