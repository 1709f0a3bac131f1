"""A conditional edge: a coroutine that decides where a graph goes next."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, set_config_context
from langgraph.runtime import Runtime, get_runtime
from langgraph.types import Send

from domain.errors import Unsupported
from nodes.runtime import RunContext
from nodes.state import State

Decision = Callable[[State, Runtime[RunContext]], Coroutine[Any, Any, str | Send]]


class Edge(Runnable[State, str | Send]):
    """The edge of a decision. A bare function would be traced as a run of its own, which takes longer than the decision.

    It looks like the function it wraps, so that LangGraph reads from its annotations what of the state it is given; else that would
    be what the node before it asks for.
    """

    def __init__(self, decide: Decision) -> None:
        update_wrapper(self, decide)
        self.name = decide.__name__
        self._decide = decide

    async def __call__(self, state: State, runtime: Runtime[RunContext]) -> str | Send:
        return await self._decide(state, runtime)

    async def ainvoke(self, input: State, config: RunnableConfig | None = None, **kwargs: Any) -> str | Send:
        with set_config_context(ensure_config(config)) as context:
            runtime = context.run(get_runtime, RunContext)
        return await self._decide(input, runtime)

    def invoke(self, input: State, config: RunnableConfig | None = None, **kwargs: Any) -> str | Send:
        raise Unsupported("graphs are run asynchronously only")
