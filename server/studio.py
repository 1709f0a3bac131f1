"""The graphs as `langgraph dev` (LangGraph Studio) serves them: wired once a process, for the sample organisation, without a token.

Studio brings its own checkpointer and runs no engine of ours; what a run leaves in our tables are notes and usage only.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

from domain.settings import load_settings
from graphs.build import Graphs, build_graphs
from server.wiring import open_parts


@cache
def _lock() -> asyncio.Lock:
    return asyncio.Lock()


class _Process:
    """The services of this process, opened at the first access and kept: a factory runs at every access."""

    graphs: Graphs | None = None
    stack = AsyncExitStack()


async def _graph(name: str) -> Any:
    async with _lock():
        if _Process.graphs is None:
            settings = (await asyncio.to_thread(load_settings)).model_copy(update={"demo": True})
            parts = await _Process.stack.enter_async_context(open_parts(settings))
            _Process.graphs = build_graphs(parts.services, parts.services.skills)
    return _Process.graphs[name]


async def supervisor() -> Any:
    return await _graph("supervisor")


async def marketing_agent() -> Any:
    return await _graph("marketing_agent")


async def legal_agent() -> Any:
    return await _graph("legal_agent")


async def business_analyst_agent() -> Any:
    return await _graph("business_analyst_agent")
