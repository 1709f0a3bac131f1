"""All cases through a server, and what came of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from evals.cases import Case
from evals.conversation import Conversation
from evals.judge import judge, refusal_phrases
from evals.metrics import Measured, Score, measure
from evals.player import Player


@dataclass(frozen=True, slots=True)
class Played:
    """A case, what happened, its scores. `passed`: no metric found anything missing."""

    case: Case
    conversation: Conversation
    scores: tuple[Score, ...]

    @property
    def passed(self) -> bool:
        return all(score.problem is None for score in self.scores)

    @property
    def problems(self) -> list[tuple[str, str]]:
        """(metric, what is missing)."""
        return [(score.metric, score.problem) for score in self.scores if score.problem is not None]


@dataclass(frozen=True, slots=True)
class Results:
    """Everything of one evaluation. `retrieval` are the figures of the retrieval data, empty where it is absent."""

    model: str
    played: tuple[Played, ...]
    retrieval: Mapping[str, float]
    notices: tuple[str, ...]
    seconds: float

    def metrics(self, language: str | None = None) -> dict[str, Measured]:
        """The metrics, over the cases of one language or all."""
        chosen = [one for one in self.played if language is None or one.case.language == language]
        return measure(score for one in chosen for score in one.scores)

    @property
    def skipped(self) -> list[Played]:
        return [one for one in self.played if one.conversation.skipped is not None]

    @property
    def failing(self) -> list[Played]:
        return [one for one in self.played if not one.passed]

    @property
    def substitutes(self) -> dict[str, int]:
        """Cases that another model than the one asked for took part in, by model."""
        return dict(Counter(model for one in self.played for model in one.conversation.substitutes))


async def play_all(
    player: Player, cases: Iterable[Case], *, at_once: int, done: Callable[[Played], None] = lambda _: None
) -> list[Played]:
    """The cases in their order, `at_once` of them at a time."""
    phrases, places = refusal_phrases(), asyncio.Semaphore(at_once)

    async def one(case: Case) -> Played:
        async with places:
            played = judged(case, await player.play(case), phrases)
        done(played)
        return played

    return list(await asyncio.gather(*(one(case) for case in cases)))


def judged(case: Case, conversation: Conversation, phrases: Sequence[str]) -> Played:
    """A case with its scores."""
    return Played(case, conversation, tuple(judge(case, conversation, phrases)))
