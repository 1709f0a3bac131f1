"""What cases need beside the product: a web search and MCP servers, as stand-ins over real HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import httpx

from evals.cases import Case


class Surroundings:
    """The stand-ins, up while the block runs; `environ` tells the product where they are."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.environ: dict[str, str] = {}
        self._cases = cases

    def __enter__(self) -> Surroundings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def prepare(self, http: httpx.AsyncClient, case: Case) -> str | None:
        """Make ready what a case needs, for the organisation of this client. Gives the reason where that can't be had."""
        return f"{case.needs} is not there"
