"""A model call of the OpenAI-compatible gateway: no graph, one call course, OpenAI's chunks from any provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from domain.errors import UnknownModel
from domain.identity import Identity
from domain.ids import new_id
from domain.policy import ModelPolicy
from domain.quota import model_subject
from domain.trace import current_trace_id
from domain.usage import Usage
from providers.call import Need, Origin, Retraction
from providers.completion import chat_completion
from providers.meter import Meter
from providers.route import Candidate, Route
from providers.wire.openai import Chunk
from server.completion_request import CompletionRequest
from server.deps import AppState
from server.feed import COMPLETE, Complete

AUTO = "auto"
"""The model's name that leaves the choice to the router."""
AGENT = "gateway"
"""Who the ledger says has asked."""


async def route_completion(state: AppState, caller: Identity, request: CompletionRequest, prompt_tokens: int) -> Route:
    """The models that may answer. Raises NoProvider, UnknownModel listing agents and models, RateLimited."""
    named = request.model != AUTO
    shape = request.response_format
    route = await state.services.chooser.route(
        caller.organization_id,
        caller.user_id,
        ModelPolicy(model=request.model) if named else ModelPolicy(),
        tools=bool(request.parameters.get("tools")),
        structured_output=shape == "json_schema",
        json_output=shape != "text",
        context_tokens=prompt_tokens + (request.max_output_tokens or 0),
    )
    first = route.candidates[0]
    subject = model_subject(first.provider, first.model) if named else None
    await state.rates.admit(caller.organization_id, caller.user_id, subject)
    return route


class GatewayCall:
    """One call. `candidate` and `meter` are those of the attempt under way, or of the one that answered."""

    def __init__(
        self, state: AppState, caller: Identity, request: CompletionRequest, route: Route, tokens: int
    ) -> None:
        self.call_id = new_id()
        self.candidate: Candidate | None = None
        self.meter = Meter(tokens)
        self._state = state
        self._route = route
        self._request = request
        self._need = Need(tokens, request.max_output_tokens)
        self._origin = Origin(
            organization_id=caller.organization_id,
            user_id=caller.user_id,
            agent=AGENT,
            purpose="gateway",
            trace_id=current_trace_id(),
        )

    def usage(self) -> Usage:
        """What the answer is charged."""
        return self.meter.usage()

    async def pieces(self) -> AsyncGenerator[Chunk | Retraction | Complete, None]:
        """The chunks of the answer, Complete, then the ledger's work. A streamed answer takes nothing back: once a chunk is out, a
        failure is raised. Raises as `Caller.stream`."""
        async with aclosing(
            self._state.services.caller.stream(
                self._origin,
                self._route,
                self._need,
                self._attempt,
                seconds=self._state.settings.limits.turn_seconds,
                retractable=not self._request.stream,
                prepares=True,
                call_id=self.call_id,
            )
        ) as pieces:
            async for piece in pieces:
                yield piece

    async def _attempt(self, candidate: Candidate, meter: Meter) -> AsyncGenerator[Chunk | Complete, None]:
        self.candidate, self.meter = candidate, meter
        async with aclosing(
            chat_completion(self._state.services.providers, candidate, self._request.parameters, meter)
        ) as chunks:
            async for chunk in chunks:
                yield chunk
        yield COMPLETE


def with_agents(unknown: UnknownModel, agents: list[str]) -> UnknownModel:
    """The refusal of a model's name, with the agents among what there is."""
    available = [*agents, AUTO, *unknown.details.get("available", ())]
    message = f"{unknown.message.partition(' Available:')[0]} Available: {', '.join(available)}."
    return UnknownModel(message, **{**unknown.details, "available": available})
