"""`summarise`: once a conversation is longer than its share of a prompt, its older part becomes a summary, which grows with it.

It is made by a model, from the summary so far and the messages that leave; where no model is there or none answers, by quoting
questions and the beginnings of answers. A summary that can't be made never costs the turn.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import structlog
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.config import get_stream_writer
from langgraph.runtime import Runtime

from domain.catalogue import Catalogue
from domain.errors import ConsiliumError, RunCancelled, StaleFence, TooLarge
from domain.skills import Skill
from nodes.agent import Agent
from nodes.budget import Count, Parts, cut_middle, fit
from nodes.call import Call
from nodes.fitted import HEADINGS, OFF_THE_LOOP, Fitting, counter
from nodes.model import call_of
from nodes.prompt import parts, without_markers
from nodes.remembered import length
from nodes.runtime import RunContext, Services
from nodes.state import State, Summary
from nodes.structure import ask
from providers.route import Candidate, Route
from providers.sampling import Sampling

LEAST_QUESTIONS = 2
"""Of a history that can be too long: the last exchange stays as it is."""
LEAST, MOST = 160, 1_200
"""Tokens of a summary: a tenth of what a prompt may have, within these."""
HISTORY_SHARE = 4
"""A fourth of a prompt may be history word for word: more of it costs in every turn and tells little."""
MOST_SECONDS = 60.0
MOST_CALLS = 4
"""In one turn; what is left then is summarised in the next, and trimmed until then."""
LONGEST_MESSAGE = 6_000
"""Characters of one message that a summary is made of."""
QUOTED = ((240, 160), (240, 0), (120, 0), (60, 0))
"""Characters of a question and of its answer that are quoted where no model summarises: the first that fit."""
_ARROW = " → "
WORDS_PER_TOKEN = 0.4
"""So few that languages with long words keep to it, too."""
Due = Callable[[State, Runtime[RunContext]], Coroutine[Any, Any, Literal["summarise", "model"]]]
log = structlog.get_logger(__name__)


def due(services: Services, agent: Agent) -> Due:
    """The way after `provider_router`: whether the history has grown too long. Asked once a turn, at its beginning."""

    async def after_router(state: State, runtime: Runtime[RunContext]) -> Literal["summarise", "model"]:
        messages = state["messages"]
        if not isinstance(messages[-1], HumanMessage) or not _has_questions(messages, LEAST_QUESTIONS + 1):
            return "model"
        need = await _need(services, agent, state, runtime.context)
        return "summarise" if await need.is_there() else "model"

    return after_router


def make(services: Services, agent: Agent) -> Any:
    """The node for one agent."""

    async def summarise(state: State, runtime: Runtime[RunContext]) -> dict[str, Any]:
        need = await _need(services, agent, state, runtime.context)
        if not (leaving := need.leaving()):
            return {}
        work = _Work(need.call, services.summary_prompt, need.summary_tokens)
        summary = await work.summarise(state.get("summary") if need.parts.summary else None, leaving, state["messages"])
        get_stream_writer()(
            {"type": "summary", "agent": need.call.agent, "messages": summary["messages"], "by": summary["by"]}
        )
        return {"summary": summary}

    return summarise


def _has_questions(messages: Sequence[BaseMessage], count: int) -> bool:
    """Whether there are so many, looked for from the end: a conversation may be long."""
    questions = (message for message in reversed(messages) if isinstance(message, HumanMessage))
    return next(islice(questions, count - 1, None), None) is not None


async def _need(services: Services, agent: Agent, state: State, run: RunContext) -> _Need:
    skill, specialists = agent.skill(state, run), agent.specialists(run)
    remaining = max(0.0, state["turn"]["deadline"] + run.waited_seconds - time.time())
    return _Need(await call_of(services, skill, specialists, state, run, remaining), skill, state, run)


class _Need:
    """Whether a summary is needed, and of what."""

    def __init__(self, call: Call, skill: Skill, state: State, run: RunContext) -> None:
        self.call = call
        self._state = state
        self._fitting: Fitting = self.call.fitting()
        self._candidate: Candidate = self.call.route.candidates[0]
        self._limit = self._fitting.limit(self._candidate).tokens or 0
        self._name = run.organization_name
        self._skill = skill
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts:
        self._parts = self._parts or parts(self._state, self._skill, self._name)
        return self._parts

    @property
    def _share(self) -> int:
        return self._limit // HISTORY_SHARE

    @property
    def summary_tokens(self) -> int:
        return min(max(self._limit // 10, LEAST), MOST)

    async def is_there(self) -> bool:
        """The history is longer than its share, or some of it would be dropped.

        So little that a summary would save nothing isn't worth the question.
        """
        history = self.parts.history
        chars = sum(map(length, history))
        if chars < self._limit // 4 or not _has_questions(history, LEAST_QUESTIONS):
            return False
        if chars + sum(map(length, self.parts.turn)) > OFF_THE_LOOP:
            return await asyncio.to_thread(self._is_long)
        return self._is_long()

    def _is_long(self) -> bool:
        count, budget = counter(self._candidate.model), self._limit - HEADINGS
        history = sum(count(message) for message in self.parts.history)
        if history > self._share:
            return True
        overhead = self._fitting.overhead(self._candidate.model)
        try:
            rest = fit(dataclasses.replace(self.parts, history=[]), budget, count, tools=overhead)
        except TooLarge:
            return False
        return bool(rest.dropped) or rest.tokens + history > budget

    def leaving(self) -> list[AnyMessage]:
        """The older messages: what stays fills half of the room there is for history, and is the last exchange at least."""
        count, given = counter(self._candidate.model), self.parts
        rest = dataclasses.replace(given, history=[], summary=None)
        taken = sum(count(text) for text in (rest.frame, rest.closing, *rest.notes) if text)
        taken += sum(count(source.text) for source in rest.passages) + sum(count(message) for message in rest.turn)
        room = self._limit - HEADINGS - self._fitting.overhead(self._candidate.model) - taken - self.summary_tokens
        room = min(max(room, self._limit // 8), self._share) // 2
        history = list(given.history)
        starts = [at for at, message in enumerate(history) if isinstance(message, HumanMessage)]
        if len(starts) < 2:
            return []
        cut, kept = starts[-1], sum(count(message) for message in history[starts[-1] :])
        for start, end in zip(reversed(starts[:-1]), reversed(starts[1:]), strict=True):
            kept += sum(count(message) for message in history[start:end])
            if kept > room:
                break
            cut = start
        return history[:cut]


class _Work:
    """The making of one summary."""

    def __init__(self, call: Call, prompt: str, tokens: int) -> None:
        self._services = call.services
        self._tokens = tokens
        self._prompt = SystemMessage(prompt.replace("{words}", str(int(tokens * WORDS_PER_TOKEN))))
        route = cheap(call.route, call.services.catalogue)
        self._call = dataclasses.replace(
            call, route=route, tools=[], sources=None, purpose="summary", output=None, sampling=Sampling(), parts=None
        )

    async def summarise(
        self, old: Summary | None, leaving: Sequence[AnyMessage], messages: Sequence[BaseMessage]
    ) -> Summary:
        """The summary of `old` and `leaving`; where models fail, of all of it by quoting."""
        text, by, done = old["text"] if old else "", "extract", 0
        if self._call.route.candidates:
            try:
                async with asyncio.timeout(min(self._call.seconds / 2, MOST_SECONDS)):
                    for portion in list(self._portions(leaving, text))[:MOST_CALLS]:
                        text, done = await self._ask(text, portion), done + len(portion)
                        by = "model"
            except (StaleFence, RunCancelled):
                raise
            except (ConsiliumError, TimeoutError) as failed:
                log.warning(
                    "summary failed; the conversation goes on with quotations",
                    agent=self._call.agent,
                    error_code=getattr(failed, "code", "timeout"),
                    error=str(failed),
                    summarised=done,
                    messages=len(leaving),
                )
        if not done:
            text, done = extract(old, leaving, 2 * self._tokens, counter("")), len(leaving)
        until = leaving[done - 1].id or ""
        covered = next(i for i in range(len(messages) - 1, -1, -1) if messages[i].id == until) + 1
        return {"text": text, "messages": covered, "until": until, "by": "model" if by == "model" else "extract"}

    def _portions(self, leaving: Sequence[AnyMessage], old: str) -> Iterator[list[AnyMessage]]:
        """As many messages as a call can take at once."""
        candidate = self._call.route.candidates[0]
        count, fitting = counter(candidate.model), self._call.fitting()
        room = (fitting.limit(candidate).tokens or 0) - count(self._prompt) - HEADINGS
        room -= max(count(old), 2 * self._tokens)
        portion: list[AnyMessage] = []
        taken = 0
        for message in leaving:
            size = count(_line(message))
            if portion and taken + size > room:
                yield portion
                portion, taken = [], 0
            portion.append(message)
            taken += size
        if portion:
            yield portion

    async def _ask(self, old: str, portion: Sequence[AnyMessage]) -> str:
        said = "\n".join(_line(message) for message in portion)
        question = f"<summary>\n{_quoted(old)}\n</summary>\n<messages>\n{said}\n</messages>"
        answer = await ask(dataclasses.replace(self._call), [self._prompt, HumanMessage(question)])
        text = without_markers(answer.text).strip()
        if not text:
            raise ConsiliumError("the summary is empty")
        return shorten(text, 2 * self._tokens, counter(""))


def cheap(route: Route, catalogue: Catalogue) -> Route:
    """Who may make a summary: of every provider of the route its cheapest model, then the one of the route; none that only quotes.

    Of a local provider only the models of the route are used: others may not be loaded.
    """
    chosen: dict[tuple[str, str], Candidate] = {}
    for candidate in route.candidates:
        spec = catalogue.provider(candidate.provider)
        if spec is None or spec.family == "extractive":
            continue
        own = candidate.prompt_micro_usd
        for model in spec.models if spec.location == "cloud" and own is not None else ():
            price = model.price
            if price is not None and model.capabilities.chat and price.prompt_micro_usd < (own or 0):
                own = price.prompt_micro_usd
                cheaper = dataclasses.replace(
                    candidate,
                    model=model.name,
                    prompt_micro_usd=price.prompt_micro_usd,
                    completion_micro_usd=price.completion_micro_usd,
                )
                chosen = {key: one for key, one in chosen.items() if one.provider != spec.name}
                chosen[spec.name, model.name] = cheaper
        chosen.setdefault((spec.name, candidate.model), candidate)
    return dataclasses.replace(route, candidates=tuple(chosen.values()), reasoning_effort=None)


def extract(old: Summary | None, leaving: Sequence[BaseMessage], tokens: int, count: Count) -> str:
    """A summary by quotation, of at most `tokens`: each question with the beginning of its answer.

    Where that is too long the quotations become shorter step by step, then the oldest go.
    """
    kept = [line for line in old["text"].splitlines() if line.strip()] if old else []
    written = kept if old and old["by"] == "model" else []
    quoted = [] if written else [_Quotation(*line.removeprefix("- ").partition(_ARROW)[::2]) for line in kept]
    for message in leaving:
        said = " ".join(message.text.split())
        if isinstance(message, HumanMessage):
            quoted.append(_Quotation(said, ""))
        elif quoted:
            quoted[-1] = _Quotation(quoted[-1].question, said)
    lines: list[str] = []
    for question, answer in QUOTED:
        lines = [*written, *(one.line(question, answer) for one in quoted)]
        if count("\n".join(lines)) <= tokens:
            return "\n".join(lines)
    sizes = [count(line) + 1 for line in lines]
    total, gone = sum(sizes), 0
    while total > tokens and gone < len(lines):
        total -= sizes[gone]
        gone += 1
    return "\n".join(lines[gone:])


@dataclass(frozen=True, slots=True)
class _Quotation:
    """A question and what was answered."""

    question: str
    answer: str

    def line(self, question: int, answer: int) -> str:
        """With at most so many characters of each."""
        said = f"{_ARROW}{_beginning(self.answer, answer)}" if answer and self.answer else ""
        return f"- {_beginning(self.question, question)}{said}"


def shorten(text: str, tokens: int, count: Count) -> str:
    """The beginning of a text, ending with a line or a sentence where there is one, of at most `tokens`."""
    while (size := count(text)) > tokens and len(text) > 1:
        text = text[: max(1, int(len(text) * tokens / size * 0.97))]
        ends = [found.end() for found in re.finditer(r"[.!?…](?=\s)|\n", text)]
        if ends and ends[-1] > len(text) // 2:
            text = text[: ends[-1]].rstrip()
    return text


def _line(message: BaseMessage) -> str:
    who = "User" if isinstance(message, HumanMessage) else "Assistant"
    return f"{who}: {_quoted(cut_middle(message.text, LONGEST_MESSAGE))}"


def _quoted(text: str) -> str:
    return text.replace("<", "‹").replace(">", "›")


def _beginning(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1].rsplit(" ", 1)[0] + "…"
