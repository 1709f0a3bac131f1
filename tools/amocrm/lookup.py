"""Pipelines with their stages, users, and any one entity by its id."""

from __future__ import annotations

from typing import Any

from tools.amocrm import leads, people, tasks
from tools.amocrm.tool import ID, Crm, CrmTool
from tools.amocrm.view import known, view


async def pipelines(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    if "pipeline_id" in arguments:
        chosen = [await crm.directory.pipeline(arguments["pipeline_id"])]
    else:
        chosen = list((await crm.directory.pipelines()).values())
    return {
        "pipelines": [
            {
                "id": pipeline.id,
                "name": pipeline.name,
                "is_main": pipeline.is_main,
                "is_archive": pipeline.is_archive,
                "stages": [{"id": stage.id, "name": stage.name, "kind": stage.kind} for stage in pipeline.stages],
            }
            for pipeline in chosen
        ]
    }


async def users(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "users": [
            known(
                {
                    "id": person.id,
                    "name": person.name,
                    "email": person.email,
                    "is_active": person.rights.get("is_active"),
                    "is_admin": person.rights.get("is_admin"),
                }
            )
            for person in (await crm.directory.people()).values()
        ]
    }


async def entity(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    entity_id, names = arguments["id"], await view(crm)
    match arguments["entity"]:
        case "leads":
            shown = leads.lead_view(await leads.get(crm, entity_id), names)
            return {"entity": "leads", "item": {**shown, **({"currency": names.currency} if names.currency else {})}}
        case "contacts" | "companies" as kind:
            return {"entity": kind, "item": people.party_view(kind, await people.get(crm, kind, entity_id), names)}
        case _:
            return {"entity": "tasks", "item": tasks.task_view(await tasks.get(crm, entity_id), names)}


TOOLS = (
    CrmTool(
        "entity_get",
        "Read one entity",
        "One lead, contact, company or task of the CRM by its id, with all its fields and what is linked to it.",
        {"entity": {"type": "string", "enum": ["leads", "contacts", "companies", "tasks"]}, "id": ID},
        ("entity", "id"),
        "read",
        entity,
    ),
    CrmTool(
        "leads_pipelines_get",
        "Pipelines and stages",
        "The sales pipelines of the CRM with their stages and ids.",
        {"pipeline_id": {**ID, "description": "Only this one."}},
        (),
        "read",
        pipelines,
    ),
    CrmTool("users_get", "Users", "The people who work in the CRM, with their ids.", {}, (), "read", users),
)
