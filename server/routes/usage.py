"""What was used: the ledger's tokens by day, model, provider, agent and user, as JSON or to be opened in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Query, Response

from domain.catalogue import Catalogue
from domain.errors import InvalidInput
from server.deps import CallerDep, StateDep
from server.render.serialize import dumps
from storage.quota import UsageRow

router = APIRouter(prefix="/v1/usage", tags=["quotas"])
Group = Literal["day", "provider", "model", "agent", "user"]
GROUPS: tuple[Group, ...] = get_args(Group)
_FIELD = {"user": "user_id"}
"""How a group is called in a row, where it isn't by its own name."""
COUNTS = ("calls", "prompt", "completion", "exact", "cost_micro_usd")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is executed by spreadsheets."""


@dataclass(slots=True)
class Counts:
    """Of some calls; tokens. `exact` where each was counted by its provider; the cost in 1e-6 USD is None where the price of one
    of the models is not known."""

    calls: int = 0
    prompt: int = 0
    completion: int = 0
    exact: bool = True
    cost_micro_usd: int | None = 0

    def add(self, row: UsageRow, catalogue: Catalogue) -> None:
        self.calls += row.calls
        self.prompt += row.prompt
        self.completion += row.completion
        self.exact = self.exact and row.exact
        cost = _cost(row, catalogue)
        self.cost_micro_usd = None if cost is None or self.cost_micro_usd is None else self.cost_micro_usd + cost


@router.get("")
async def usage(
    state: StateDep,
    caller: CallerDep,
    days: Annotated[int, Query(ge=1, le=366)] = 7,
    group_by: Annotated[str, Query(max_length=100)] = ",".join(GROUPS),
    format: Literal["json", "csv"] = "json",
) -> Response:
    """Today's budget and the tokens of the last `days`, grouped by any of day, provider, model, agent and user.

    Grouped by user, members see themselves; managers see everybody. `totals` are the organisation's, for everyone.
    """
    groups = _groups(group_by)
    everyone = caller.at_least("manager") or "user" not in groups
    rows = await state.quota.usage(
        caller.organization_id,
        days,
        by_day="day" in groups,
        by_agent="agent" in groups,
        by_user="user" in groups,
        only_user=None if everyone else caller.user_id,
    )
    grouped = _grouped(rows, groups, state.services.catalogue)
    if format == "csv":
        return _csv(grouped, [*(_FIELD.get(group, group) for group in groups), *COUNTS], days)
    if not everyone:
        rows = await state.quota.usage(caller.organization_id, days, by_day=False, by_agent=False, by_user=False)
    totals = Counts()
    for row in rows:
        totals.add(row, state.services.catalogue)
    today = await state.quota.today(caller.organization_id)
    content = {
        "today": {
            "day": today.day,
            "limit": today.limit,
            "own": today.source == "own",
            "used": today.used,
            "reserved": today.reserved,
            "remaining": today.remaining,
            "resets_at": today.resets_at,
            "on_exhausted": today.on_exhausted,
        },
        "days": days,
        "group_by": groups,
        "usage": grouped,
        "totals": asdict(totals),
    }
    return Response(dumps(content), media_type="application/json")


def _groups(asked: str) -> list[Group]:
    """The groups asked for, each once, in our order."""
    names = {name.strip() for name in asked.split(",") if name.strip()}
    if unknown := sorted(names - set(GROUPS)):
        raise InvalidInput(
            "group_by", f"'{unknown[0]}' is none of {', '.join(GROUPS)}; separate several with commas", allowed=GROUPS
        )
    if not names:
        raise InvalidInput("group_by", f"name at least one of {', '.join(GROUPS)}", allowed=GROUPS)
    return [group for group in GROUPS if group in names]


def _grouped(rows: Iterable[UsageRow], groups: Sequence[Group], catalogue: Catalogue) -> list[dict[str, Any]]:
    """The ledger's rows, which always tell provider and model, added up to what was asked for; their order stays."""
    fields = [_FIELD.get(group, group) for group in groups]
    added: dict[tuple[Any, ...], Counts] = {}
    for row in rows:
        added.setdefault(tuple(getattr(row, field) for field in fields), Counts()).add(row, catalogue)
    return [{**dict(zip(fields, key, strict=True)), **asdict(counts)} for key, counts in added.items()]


def _cost(row: UsageRow, catalogue: Catalogue) -> int | None:
    """In 1e-6 USD, rounded up; None where the price is not known."""
    provider = catalogue.provider(row.provider)
    price = provider.model(row.model).price if provider else None
    if price is None:
        return None
    return -(-(row.prompt * price.prompt_micro_usd + row.completion * price.completion_micro_usd) // 1_000_000)


def _csv(rows: Iterable[dict[str, Any]], fields: Sequence[str], days: int) -> Response:
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(fields)
    for row in rows:
        writer.writerow([_cell(row[field]) for field in fields])
    return Response(
        written.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="usage-{days}-days.csv"'},
    )


def _cell(value: Any) -> str:
    """As a spreadsheet may safely open it: a text that it would calculate gets an apostrophe before it. None is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
