"""`pipeline_summary`: how many leads are in each stage and what they are worth together. Counted here, not by a model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from domain.errors import InvalidToolArguments
from tools.amocrm.directory import AccountSettings, Pipeline, Stage
from tools.amocrm.leads import PIPELINE, DateField, Lead, Wanted
from tools.amocrm.listing import Listed, listed
from tools.amocrm.period import DATE, Period, period
from tools.amocrm.tool import USER, Crm, CrmTool

MAX_STAGES = 60
"""Stages that are asked for one by one for an answer, at 7 requests a second."""
MEANING = {
    "pipeline": "Open leads as they stand now, whenever they were created; of won and lost ones those closed in the period.",
    "created_at": "Leads created in the period, in the stage where they are now.",
    "updated_at": "Leads last changed in the period, in the stage where they are now.",
    "closed_at": "Won and lost leads that were closed in the period.",
}
ANY_TIME = Period(None, None)


async def summarise(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    settings = await crm.directory.settings()
    basis: str = arguments.get("basis", "pipeline")
    when = period(arguments, settings.timezone)
    chosen = await _chosen(crm, arguments.get("pipeline_id"))
    counted = [await _count(crm, settings, pipeline, basis, when, arguments) for pipeline in chosen]
    return {
        "meaning": MEANING[basis],
        "period": {
            "from": arguments.get("date_from"),
            "to": arguments.get("date_to"),
            "time_zone": str(settings.timezone),
        },
        "currency": settings.currency,
        "pipelines": [shown for shown, _ in counted],
        "complete": all(complete for _, complete in counted),
    }


async def _chosen(crm: Crm, pipeline_id: int | None) -> list[Pipeline]:
    if pipeline_id is not None:
        return [await crm.directory.pipeline(pipeline_id)]
    working = [pipeline for pipeline in (await crm.directory.pipelines()).values() if not pipeline.is_archive]
    if sum(len(pipeline.stages) for pipeline in working) > MAX_STAGES:
        there = ", ".join(f"{one.id} ({one.name})" for one in working)
        raise InvalidToolArguments(f"pipeline_id: there are too many pipelines for one answer; name one of {there}.")
    return working


async def _count(
    crm: Crm, settings: AccountSettings, pipeline: Pipeline, basis: str, when: Period, arguments: dict[str, Any]
) -> tuple[dict[str, Any], bool]:
    who: int | None = arguments.get("responsible_user_id")
    stages = [stage for stage in pipeline.stages if stage.kind != "unsorted"]
    if basis == "closed_at":
        stages = [stage for stage in stages if stage.kind in ("won", "lost")]
    if basis == "pipeline":
        parts = await _in_pipeline(crm, settings, pipeline, stages, when, who)
    else:
        field: DateField = (
            "created_at" if basis == "created_at" else "updated_at" if basis == "updated_at" else "closed_at"
        )
        wanted = Wanted(pipeline_id=pipeline.id, responsible_user_id=who, date_field=field)
        params = wanted.filters(when) if settings.filters else {}
        parts = [await listed(crm.client, "leads", Lead, params, lambda lead: wanted.fits(lead, when))]
    leads = {lead.id: lead for part in parts for lead in part.items}  # a lead that moves meanwhile may come twice
    return _shown(pipeline, stages, leads.values()), all(part.complete for part in parts)


async def _in_pipeline(
    crm: Crm, settings: AccountSettings, pipeline: Pipeline, stages: list[Stage], when: Period, who: int | None
) -> list[Listed[Lead]]:
    """Stage by stage where amoCRM filters, which spares the old closed leads; else all at once."""
    if not settings.filters:
        return [await _all(crm, pipeline, stages, when, who)]
    return await asyncio.gather(*(_one(crm, pipeline, stage, when, who) for stage in stages))


async def _one(crm: Crm, pipeline: Pipeline, stage: Stage, when: Period, who: int | None) -> Listed[Lead]:
    """The leads of one stage."""
    wanted = Wanted(pipeline_id=pipeline.id, status_id=stage.id, responsible_user_id=who, date_field="closed_at")
    then = ANY_TIME if stage.kind == "open" else when
    return await listed(crm.client, "leads", Lead, wanted.filters(then), lambda lead: wanted.fits(lead, then))


async def _all(crm: Crm, pipeline: Pipeline, stages: list[Stage], when: Period, who: int | None) -> Listed[Lead]:
    """The same where amoCRM does not filter: all leads are read."""
    kinds = {stage.id: stage.kind for stage in stages}
    wanted = Wanted(pipeline_id=pipeline.id, responsible_user_id=who, date_field="closed_at")

    def fits(lead: Lead) -> bool:
        kind = kinds.get(lead.status_id)
        return kind is not None and wanted.fits(lead, ANY_TIME if kind == "open" else when)

    return await listed(crm.client, "leads", Lead, {}, fits)


def _shown(pipeline: Pipeline, stages: list[Stage], leads: Iterable[Lead]) -> dict[str, Any]:
    by_stage: dict[int, list[Lead]] = {stage.id: [] for stage in stages}
    for lead in leads:
        if lead.status_id in by_stage:
            by_stage[lead.status_id].append(lead)
    by_kind = {
        kind: [lead for stage in stages if stage.kind == kind for lead in by_stage[stage.id]]
        for kind in ("open", "won", "lost")
    }
    return {
        "pipeline_id": pipeline.id,
        "pipeline": pipeline.name,
        "stages": [
            {"status_id": stage.id, "stage": stage.name, "kind": stage.kind, **_sum(by_stage[stage.id])}
            for stage in stages
        ],
        **{kind: _sum(inside) for kind, inside in by_kind.items()},
        "total": _sum(lead for inside in by_stage.values() for lead in inside),
    }


def _sum(leads: Iterable[Lead]) -> dict[str, int]:
    """Count and sum, whole units of the account's currency; how many have no price, where some have none."""
    prices = [lead.price for lead in leads]
    unknown = sum(price is None for price in prices)
    shown = {"count": len(prices), "sum": sum(price for price in prices if price is not None)}
    return {**shown, "without_price": unknown} if unknown else shown


TOOLS = (
    CrmTool(
        "pipeline_summary",
        "Pipeline by stage",
        "The sales pipeline by stage: how many leads (deals) each stage has and their sum, with totals of open, won and lost ones. "
        "Exact figures; use it for questions about the pipeline, the funnel or the forecast instead of adding leads up. "
        "'This month' is date_from its first and date_to its last day. Воронка продаж по этапам: количество и сумма сделок.",
        {
            "pipeline_id": {**PIPELINE, "description": "One pipeline; all that are in use without it."},
            "date_from": DATE,
            "date_to": DATE,
            "basis": {
                "type": "string",
                "enum": list(MEANING),
                "default": "pipeline",
                "description": " ".join(f"{name}: {meaning}" for name, meaning in MEANING.items()),
            },
            "responsible_user_id": USER,
        },
        (),
        "read",
        summarise,
    ),
)
