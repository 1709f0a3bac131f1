"""Choosing specialists by their descriptions, as the delegation tool gives them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from providers.extractive.lexicon import Lexicon
from providers.extractive.question import Concept, concepts, term_set

_LINE = re.compile(r"^- ([A-Za-z0-9_-]+): (.+)$", re.MULTILINE)
_PARTS = re.compile(
    r"(?<=[?!.;])\s+|\s*;\s*|,?\s+(?:and|и|а)\s+(?=(?:also|what|which|who|when|where|how|why|is|are|"
    r"также|ещё|еще|как|какая|какой|какое|какие|каков|какова|каковы|сколько|кто|когда|где|что|почему)\b)",
    re.IGNORECASE,
)
ENOUGH = 0.9
"""The summed weight of matched words from which an agent is taken; one word that only its description has weighs ln
4 or so."""


@dataclass(frozen=True, slots=True)
class Agent:
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Task:
    """A question, or a part of it, for one agent."""

    agent: str
    question: str


def agents_of(tool: Mapping[str, Any]) -> list[Agent]:
    """The agents of a delegation tool: the enum of its `agent` parameter with the description's lines `- name: ...`."""
    described = dict(_LINE.findall(str(tool.get("description", ""))))
    properties = tool.get("parameters", {}).get("properties", {})
    names = properties.get("agent", {}).get("enum") or list(described)
    return [Agent(name, described.get(name, name.replace("_", " "))) for name in names]


def choose(question: str, background: str, agents: Sequence[Agent], lexicon: Lexicon, own_name: str) -> list[Task]:
    """The agent whose description the question's words fit best; several where clearly separate parts fit different
    ones; empty where none fits. A question that fits none by itself is read together with its background."""
    whole = _best(concepts(question, lexicon, own_name=own_name), agents, lexicon)
    parts = [part.strip() for part in _PARTS.split(question) if len(part.split()) >= 2]
    if len(parts) > 1:
        tasks: dict[str, list[str]] = {}
        for part in parts:
            fit = _best(concepts(part, lexicon, own_name=own_name), agents, lexicon)
            if fit is not None:
                tasks.setdefault(fit, []).append(part)
        if len(tasks) > 1:
            return [Task(agent, " ".join(mine)) for agent, mine in tasks.items()]
    if whole is None and background:
        whole = _best(concepts(background, lexicon, own_name=own_name), agents, lexicon)
    return [Task(whole, question)] if whole else []


def _best(question: Sequence[Concept], agents: Sequence[Agent], lexicon: Lexicon) -> str | None:
    described = [term_set(agent.description, lexicon) for agent in agents]
    scores = [0.0] * len(agents)
    for concept in question:
        if concept.strength < 0.3:
            continue
        matches = [concept.match(terms) for terms in described]
        found = sum(1 for match in matches if match > 0)
        if found:
            weight = math.log(1 + len(agents) / found) * min(1.0, concept.strength + 0.25)
            scores = [score + weight * match for score, match in zip(scores, matches, strict=True)]
    best = max(range(len(agents)), key=lambda i: (scores[i], -i), default=None)
    return agents[best].name if best is not None and scores[best] >= ENOUGH else None
