"""Leads (deals): search, create, update."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field

from domain.errors import ConsiliumError, InvalidToolArguments, NotFound, ToolProtocolError
from tools.amocrm.client import Json, embedded
from tools.amocrm.directory import Pipeline, parse
from tools.amocrm.listing import listed
from tools.amocrm.period import DATE, Period, period
from tools.amocrm.tool import ID, LIMIT, OFFSET, USER, Crm, CrmTool
from tools.amocrm.view import View, fields, known, linked, view

T = TypeVar("T")
DateField = Literal["created_at", "updated_at", "closed_at"]
PIPELINE = {**ID, "description": "Id of the pipeline (ammo-crm-leads_pipelines_get)."}
STAGE = {**ID, "description": "Id of the stage; 142 is won and 143 lost in every pipeline."}
PRICE = {
    "type": "integer",
    "minimum": 0,
    "maximum": 10**12,
    "description": "Budget in whole units of the account's currency.",
}
NAME = {"type": "string", "minLength": 1, "maxLength": 250}


class Lead(BaseModel):
    """A lead as amoCRM gives it. `price` is in whole units of the account's currency; times are Unix time in seconds."""

    id: int
    name: str | None = None
    price: int | None = None
    responsible_user_id: int | None = None
    status_id: int
    pipeline_id: int
    created_at: int | None = None
    updated_at: int | None = None
    closed_at: int | None = None
    closest_task_at: int | None = None
    is_deleted: bool = False
    custom_fields_values: list[dict[str, Any]] | None = None
    embedded: dict[str, Any] = Field({}, alias="_embedded")

    def at(self, date_field: DateField) -> int | None:
        return {"created_at": self.created_at, "updated_at": self.updated_at, "closed_at": self.closed_at}[date_field]


class Wanted(BaseModel):
    """Which leads: everything that is given must hold."""

    pipeline_id: int | None = None
    status_id: int | None = None
    responsible_user_id: int | None = None
    date_field: DateField = "created_at"

    def fits(self, lead: Lead, when: Period) -> bool:
        return (
            not lead.is_deleted
            and self.pipeline_id in (None, lead.pipeline_id)
            and self.status_id in (None, lead.status_id)
            and self.responsible_user_id in (None, lead.responsible_user_id)
            and lead.at(self.date_field) in when
        )

    def filters(self, when: Period) -> dict[str, str | int]:
        """The same for amoCRM. A stage can only be asked for together with its pipeline."""
        params: dict[str, str | int] = {}
        if self.pipeline_id is not None and self.status_id is not None:
            params["filter[statuses][0][pipeline_id]"] = self.pipeline_id
            params["filter[statuses][0][status_id]"] = self.status_id
        elif self.pipeline_id is not None:
            params["filter[pipeline_id][0]"] = self.pipeline_id
        if self.responsible_user_id is not None:
            params["filter[responsible_user_id][0]"] = self.responsible_user_id
        if when.start is not None:
            params[f"filter[{self.date_field}][from]"] = when.start
        if when.end is not None:
            params[f"filter[{self.date_field}][to]"] = when.end
        return params


async def search(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    settings, names = await crm.directory.settings(), await view(crm)
    wanted = Wanted.model_validate(arguments)
    _check_stage(names.pipelines, wanted.pipeline_id, wanted.status_id)
    when = period(arguments, settings.timezone)
    params: dict[str, str | int] = {"order[updated_at]": "desc", "with": "contacts"}
    if arguments.get("query"):
        params["query"] = arguments["query"]
    if settings.filters:
        params |= wanted.filters(when)
    stage_alone = wanted.status_id is not None and wanted.pipeline_id is None
    found = await listed(
        crm.client,
        "leads",
        Lead,
        params,
        lambda lead: wanted.fits(lead, when),
        offset=arguments.get("offset", 0),
        limit=arguments.get("limit", 25),
        exact=settings.filters and not stage_alone,
    )
    return {
        "leads": [lead_view(lead, names) for lead in found.items],
        "more": found.more,
        "complete": found.complete,
        **({"currency": names.currency} if names.currency else {}),
    }


async def create(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    names = await view(crm)
    _check_stage(names.pipelines, arguments.get("pipeline_id"), arguments.get("status_id"))
    linked_to = {
        key: [{"id": arguments[name]}]
        for key, name in (("contacts", "contact_id"), ("companies", "company_id"))
        if name in arguments
    }
    body = {key: value for key, value in arguments.items() if key not in ("contact_id", "company_id")}
    answer = await crm.client.post("leads", [{**body, **({"_embedded": linked_to} if linked_to else {})}])
    return created(answer, "leads", names)


async def update(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    changes = {key: value for key, value in arguments.items() if key != "id"}
    if not changes:
        raise InvalidToolArguments("arguments: name at least one field to change.")
    lead = await get(crm, arguments["id"])
    names = await view(crm)
    pipeline_id = changes.get("pipeline_id", lead.pipeline_id)
    if "status_id" in changes:
        _check_stage(names.pipelines, pipeline_id, changes["status_id"])
        changes["pipeline_id"] = pipeline_id  # 142 and 143 are in every pipeline
    elif pipeline_id != lead.pipeline_id:
        raise InvalidToolArguments("status_id: say to which stage of the other pipeline the lead moves.")
    await crm.client.patch(f"leads/{lead.id}", changes)
    return await changed(lead_view(lead, names), lambda: get(crm, lead.id), lambda after: lead_view(after, names))


async def get(crm: Crm, lead_id: int) -> Lead:
    """Raises NotFound."""
    answer = await crm.client.get(f"leads/{lead_id}", {"with": "contacts,loss_reason"})
    if answer is None:
        raise NotFound("lead", str(lead_id))
    return parse(Lead, answer)


def lead_view(lead: Lead, names: View) -> dict[str, Any]:
    pipeline = names.pipelines.get(lead.pipeline_id)
    stage = pipeline.stage(lead.status_id) if pipeline else None
    reasons = lead.embedded.get("loss_reason") or []
    return known(
        {
            "id": lead.id,
            "name": lead.name,
            "price": lead.price,
            "pipeline_id": lead.pipeline_id,
            "pipeline": pipeline.name if pipeline else None,
            "status_id": lead.status_id,
            "stage": stage.name if stage else None,
            "stage_kind": stage.kind if stage else None,
            "responsible_user_id": lead.responsible_user_id,
            "responsible": names.person(lead.responsible_user_id),
            "created_at": names.time(lead.created_at),
            "updated_at": names.time(lead.updated_at),
            "closed_at": names.time(lead.closed_at),
            "closest_task_at": names.time(lead.closest_task_at),
            "loss_reason": next((one.get("name") for one in reasons if isinstance(one, dict)), None),
            "tags": [one.get("name") for one in lead.embedded.get("tags") or [] if isinstance(one, dict)],
            "contact_ids": linked(lead.embedded, "contacts"),
            "company_ids": linked(lead.embedded, "companies"),
            "fields": fields(lead.custom_fields_values),
            "url": names.url("leads", lead.id),
        }
    )


async def changed(
    before: dict[str, Any], read: Callable[[], Awaitable[T]], show: Callable[[T], dict[str, Any]]
) -> dict[str, Any]:
    """What changing an entity gives back. That it can't be read again doesn't make the change undone: then `after` is None."""
    try:
        after = show(await read())
    except ConsiliumError:
        after = None
    return {"changed": True, "before": before, "after": after}


def created(answer: Json, key: str, names: View) -> dict[str, Any]:
    """What creating one entity gives back: its id and where to open it."""
    entities = embedded(answer, key)
    entity_id = entities[0].get("id") if entities else None
    if not isinstance(entity_id, int):
        raise ToolProtocolError(f"amoCRM has taken the new {key} without naming its id; search before you repeat it.")
    return known({"created": True, "id": entity_id, "url": names.url(key, entity_id)})


def _check_stage(pipelines: dict[int, Pipeline], pipeline_id: int | None, status_id: int | None) -> None:
    """Raises InvalidToolArguments naming the pipelines or the stages there are."""
    if pipeline_id is not None and pipeline_id not in pipelines:
        there = ", ".join(f"{one.id} ({one.name})" for one in pipelines.values())
        raise InvalidToolArguments(f"pipeline_id: there is no pipeline {pipeline_id}; there are {there or 'none'}.")
    if status_id is None:
        return
    among = [pipelines[pipeline_id]] if pipeline_id is not None else list(pipelines.values())
    if not any(pipeline.stage(status_id) for pipeline in among):
        there = ", ".join(f"{stage.id} ({stage.name})" for pipeline in among for stage in pipeline.stages)
        where = "" if pipeline_id is None else f" in pipeline {pipeline_id}"
        raise InvalidToolArguments(f"status_id: there is no stage {status_id}{where}; there are {there or 'none'}.")


_FIELDS = {"name": NAME, "price": PRICE, "pipeline_id": PIPELINE, "status_id": STAGE, "responsible_user_id": USER}
TOOLS = (
    CrmTool(
        "leads_search",
        "Search leads",
        "Leads (deals) of the CRM, the last changed first, by text, pipeline, stage, responsible user and period. For counts and "
        "sums by stage use ammo-crm-pipeline_summary.",
        {
            "query": {
                "type": "string",
                "minLength": 1,
                "maxLength": 250,
                "description": "Text in any field of the lead.",
            },
            "pipeline_id": PIPELINE,
            "status_id": STAGE,
            "responsible_user_id": USER,
            "date_field": {
                "type": "string",
                "enum": ["created_at", "updated_at", "closed_at"],
                "default": "created_at",
                "description": "Which date the period is about.",
            },
            "date_from": DATE,
            "date_to": DATE,
            "limit": LIMIT,
            "offset": OFFSET,
        },
        (),
        "read",
        search,
    ),
    CrmTool(
        "leads_create",
        "Create a lead",
        "Create a lead (deal). Without pipeline and stage it starts in the first stage of the main pipeline.",
        {
            **_FIELDS,
            "contact_id": {**ID, "description": "Of a contact to link."},
            "company_id": {**ID, "description": "Of a company to link."},
        },
        ("name",),
        "add",
        create,
    ),
    CrmTool(
        "leads_update",
        "Update a lead",
        "Change a lead (deal): move it to another stage or pipeline, rename it, set its price or responsible user. Answers with the "
        "lead before and after.",
        {
            "id": {**ID, "description": "Of the lead."},
            **_FIELDS,
            "loss_reason_id": {**ID, "description": "Why it was lost."},
        },
        ("id",),
        "change",
        update,
    ),
)
