"""Reading lists: filtered by amoCRM where the account has that, and always checked here, as an account without it lists everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from tools.amocrm.client import PAGE, AmoClient, Params
from tools.amocrm.directory import parse

MAX_ROWS = 10_000
"""Entities read for one answer at most: 40 pages, six seconds."""
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Listed(Generic[M]):
    """`more` whether there are more that fit; `complete` False where reading stopped at MAX_ROWS."""

    items: list[M]
    more: bool
    complete: bool


async def listed(
    client: AmoClient,
    path: str,
    model: type[M],
    params: Params,
    keep: Callable[[M], bool],
    *,
    key: str | None = None,
    offset: int = 0,
    limit: int | None = None,
    exact: bool = False,
) -> Listed[M]:
    """The entities of a list that `keep` lets through, `limit` of them after `offset`. `exact` says that amoCRM filters
    itself, so that no larger pages are needed than what is wanted."""
    wanted = None if limit is None else offset + limit + 1
    size = PAGE if wanted is None or not exact else min(PAGE, wanted)
    found: list[M] = []
    read = 0
    async for page in client.pages(path, key or path, params, size=size):
        found += [one for one in (parse(model, row) for row in page) if keep(one)]
        read += len(page)
        if wanted is not None and len(found) >= wanted:
            break
        if read >= MAX_ROWS:
            return Listed(found[offset:] if limit is None else found[offset : offset + limit], True, False)
    if limit is None:
        return Listed(found[offset:], False, True)
    return Listed(found[offset : offset + limit], len(found) > offset + limit, True)
