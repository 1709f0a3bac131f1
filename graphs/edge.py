"""A conditional edge: a coroutine that decides where a graph goes next."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
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
    """The edge of a decision. A bare function would be traced as a run of its own, which takes longer than the decision."""

    def __init__(self, decide: Decision) -> None:
        self.name = decide.__name__
        self._decide = decide

    async def ainvoke(self, input: State, config: RunnableConfig | None = None, **kwargs: Any) -> str | Send:
        with set_config_context(ensure_config(config)) as context:
            runtime = context.run(get_runtime, RunContext)
        return await self._decide(input, runtime)

    def invoke(self, input: State, config: RunnableConfig | None = None, **kwargs: Any) -> str | Send:
        raise Unsupported("graphs are run asynchronously only")
