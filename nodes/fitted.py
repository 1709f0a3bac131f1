"""A prompt as each model of a route gets it: within its context and the budget of a call, with what was dropped for that."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from domain.catalogue import ProviderSpec
from domain.errors import TooLarge
from nodes.budget import Count, Dropped, Parts, fit
from nodes.prompt import assemble
from nodes.remembered import Remembered, length
from providers.route import Candidate, Elimination, Route
from providers.stream import repair_messages
from providers.structured import JsonOutput
from providers.tokens import PER_PROMPT, count_message, count_prompt, count_text, count_tools, vocabulary

HEADINGS = 80
"""Tokens of the lines between the parts of a system message."""
OFF_THE_LOOP = 60_000
"""Characters from which counting is done in a thread: it takes some 0.3 ms a thousand where nothing is known yet."""
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a prompt may be. `tokens` counts all of it, tools included, None is without limit; `context` is the model's, None where
    nobody knows."""

    tokens: int | None
    context: int | None


def limit_of(spec: ProviderSpec, model: str, max_prompt_tokens: int | None, answer_tokens: int) -> Limit:
    """What a model takes: the operator's limit, or less where its context is smaller.

    Of the context `answer_tokens` are left for the answer, a quarter of it at most, and a fiftieth for what our count may miss.
    """
    context = spec.model(model).capabilities.context_tokens
    if context is None:
        return Limit(max_prompt_tokens, None)
    room = context - min(answer_tokens, context // 4) - context // 50
    return Limit(room if max_prompt_tokens is None else min(max_prompt_tokens, room), context)


def counter(model: str) -> Count:
    """Counts texts and messages as they go over the wire."""

    by = vocabulary(model)

    def tokens(message: BaseMessage) -> int:
        return sum(count_message(model, repaired) for repaired in repair_messages([message]))

    def count(value: str | BaseMessage) -> int:
        return count_text(model, value) if isinstance(value, str) else _COUNTED.get(value, tokens, by)

    return count


_COUNTED: Remembered[int] = Remembered()


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """One model's prompt. `tokens` is our count of it, tools included; at most `limit.tokens`."""

    messages: list[BaseMessage]
    tokens: int
    limit: Limit
    dropped: Dropped

    def as_json(self) -> dict[str, Any]:
        """For the call's record: only what was really dropped is named."""
        gone = {name: count for name, count in dataclasses.asdict(self.dropped).items() if count}
        return {"tokens": self.tokens, "limit": self.limit.tokens, "context": self.limit.context, "dropped": gone}


@dataclass(frozen=True, slots=True)
class FittedRoute:
    """The route without the models that the prompt doesn't fit, and the prompt of every other one."""

    route: Route
    prompts: Mapping[Key, FittedPrompt]

    def first(self) -> FittedPrompt:
        """Of the first candidate."""
        candidate = self.route.candidates[0]
        return self.prompts[candidate.provider, candidate.model]

    def of(self, candidate: Candidate) -> FittedPrompt:
        return self.prompts[candidate.provider, candidate.model]


@dataclass(frozen=True, slots=True)
class Fitting:
    """What decides over the length of a call's prompts. `specs` are the providers by name."""

    specs: Mapping[str, ProviderSpec]
    max_prompt_tokens: int
    """Of a prompt that can be trimmed; one that is given whole only has to fit the model's context."""
    answer_tokens: int
    """Room that is left for the answer."""
    tools: Sequence[Mapping[str, Any]] = ()
    output: JsonOutput | None = None

    async def route(self, route: Route, prompt: Parts | Sequence[BaseMessage]) -> FittedRoute:
        """The prompt for every candidate; messages are taken whole or not at all.

        A candidate whose context is too small is eliminated. Raises TooLarge where that was the request's own choice, or where none
        is left but the one that only quotes.
        """
        messages = assemble(prompt) if isinstance(prompt, Parts) else prompt
        if sum(map(length, messages)) > OFF_THE_LOOP:
            return await asyncio.to_thread(self._route, route, prompt)
        return self._route(route, prompt)

    def _route(self, route: Route, prompt: Parts | Sequence[BaseMessage]) -> FittedRoute:
        prompts: dict[Key, FittedPrompt] = {}
        made: dict[tuple[int | None, Hashable], FittedPrompt] = {}
        """By what decides over them: the limit, and how tokens are counted."""
        too_small: list[Elimination] = []
        refusal: TooLarge | None = None
        for candidate in route.candidates:
            try:
                limit = self.limit(candidate, trimmed=isinstance(prompt, Parts))
                same = limit.tokens, vocabulary(candidate.model)
                if same not in made:
                    made[same] = self._prompt(candidate.model, limit, prompt)
                prompts[candidate.provider, candidate.model] = dataclasses.replace(made[same], limit=limit)
            except TooLarge as refused:
                if candidate.reason == "request":
                    raise
                refusal = refusal or refused
                too_small.append(Elimination(candidate.provider, candidate.model, "context_too_small", refused.message))
        left = tuple(c for c in route.candidates if (c.provider, c.model) in prompts)
        if refusal is not None and all(self.specs[c.provider].family == "extractive" for c in left):
            raise refusal
        told = dict(route.policy or {})
        if left:
            told["prompt"] = prompts[left[0].provider, left[0].model].as_json()
        return FittedRoute(
            dataclasses.replace(route, candidates=left, eliminations=(*route.eliminations, *too_small), policy=told),
            prompts,
        )

    def limit(self, candidate: Candidate, *, trimmed: bool = True) -> Limit:
        """How long this candidate's prompt may be; only one that can be trimmed is held to the operator's limit."""
        most = self.max_prompt_tokens if trimmed else None
        return limit_of(self.specs[candidate.provider], candidate.model, most, self.answer_tokens)

    def overhead(self, model: str) -> int:
        """Tokens of a prompt that are no part of it: tools, what is said about JSON, the format."""
        told = sum(count_text(model, message.text) for message in self.output.instructed([])) if self.output else 0
        return count_tools(model, self.tools) + told + PER_PROMPT

    def _prompt(self, model: str, limit: Limit, prompt: Parts | Sequence[BaseMessage]) -> FittedPrompt:
        overhead = self.overhead(model)
        if isinstance(prompt, Parts):
            count = counter(model)
            fitted = fit(prompt, (limit.tokens or 0) - HEADINGS, count, tools=overhead)
            system, *said = assemble(fitted.kept)
            messages = repair_messages([system, *said])
            tokens = overhead + count(system) + fitted.said
            return FittedPrompt(messages, tokens, limit, fitted.dropped)
        messages = repair_messages(prompt)
        tokens = overhead - PER_PROMPT + count_prompt(model, messages)
        if limit.tokens is not None and tokens > limit.tokens:
            raise _too_long(messages, model, tokens, limit)
        return FittedPrompt(messages, tokens, limit, Dropped())


def _too_long(messages: Sequence[BaseMessage], model: str, tokens: int, limit: Limit) -> TooLarge:
    """Of a prompt that is taken as it is: the longest kind of message is named."""
    lengths = {"question": 0, "instructions": 0, "history": 0}
    for message in messages:
        last = message is messages[-1] and isinstance(message, HumanMessage)
        part = "question" if last else "instructions" if isinstance(message, SystemMessage) else "history"
        lengths[part] += count_message(model, message)
    part = max(lengths, key=lambda name: lengths[name])
    return TooLarge(
        f"The prompt has {tokens} tokens, {lengths[part]} of them in its {part}; {model} may get {limit.tokens}. "
        "Shorten it, or choose a model with a larger context.",
        part=part,
        part_tokens=lengths[part],
        limit=limit.tokens,
        tokens=tokens,
        unit="tokens",
    )
