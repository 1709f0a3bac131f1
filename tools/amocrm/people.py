"""Contacts and companies: search, create, update. The two are alike in amoCRM."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from pydantic import BaseModel, Field

from domain.errors import InvalidToolArguments, NotFound
from tools.amocrm.directory import parse
from tools.amocrm.leads import NAME, changed, created
from tools.amocrm.listing import listed
from tools.amocrm.tool import ID, LIMIT, OFFSET, USER, Crm, CrmTool
from tools.amocrm.view import View, fields, known, linked, view

Kind = Literal["contacts", "companies"]
LINKS: dict[Kind, tuple[str, ...]] = {"contacts": ("leads", "companies"), "companies": ("contacts", "leads")}
_WITH: dict[Kind, str] = {"contacts": "leads", "companies": "contacts,leads"}
PHONE = {"type": "string", "pattern": r"^\+?[\d\s()-]{3,30}$"}
EMAIL = {"type": "string", "pattern": r"^[^@\s]+@[^@\s]+$", "maxLength": 254}


class Party(BaseModel):
    """A contact or company as amoCRM gives it."""

    id: int
    name: str | None = None
    responsible_user_id: int | None = None
    created_at: int | None = None
    updated_at: int | None = None
    closest_task_at: int | None = None
    is_deleted: bool = False
    custom_fields_values: list[dict[str, Any]] | None = None
    embedded: dict[str, Any] = Field({}, alias="_embedded")


def search(kind: Kind) -> Callable[[Crm, dict[str, Any]], Awaitable[dict[str, Any]]]:
    async def run(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
        settings, names = await crm.directory.settings(), await view(crm)
        who = arguments.get("responsible_user_id")
        params: dict[str, str | int] = {"order[updated_at]": "desc", "with": _WITH[kind]}
        if arguments.get("query"):
            params["query"] = arguments["query"]
        if who is not None and settings.filters:
            params["filter[responsible_user_id][0]"] = who
        found = await listed(
            crm.client,
            kind,
            Party,
            params,
            lambda party: not party.is_deleted and who in (None, party.responsible_user_id),
            offset=arguments.get("offset", 0),
            limit=arguments.get("limit", 25),
            exact=settings.filters or who is None,
        )
        shown = [party_view(kind, party, names) for party in found.items]
        return {kind: shown, "more": found.more, "complete": found.complete}

    return run


def create(kind: Kind) -> Callable[[Crm, dict[str, Any]], Awaitable[dict[str, Any]]]:
    async def run(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
        names = await view(crm)
        return created(await crm.client.post(kind, [_body(arguments)]), kind, names)

    return run


def update(kind: Kind) -> Callable[[Crm, dict[str, Any]], Awaitable[dict[str, Any]]]:
    async def run(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
        body = _body({key: value for key, value in arguments.items() if key != "id"})
        if not body:
            raise InvalidToolArguments("arguments: name at least one field to change.")
        before, names = await get(crm, kind, arguments["id"]), await view(crm)
        await crm.client.patch(f"{kind}/{before.id}", body)
        shown = party_view(kind, before, names)
        return await changed(shown, lambda: get(crm, kind, before.id), lambda after: party_view(kind, after, names))

    return run


async def get(crm: Crm, kind: Kind, party_id: int) -> Party:
    """Raises NotFound."""
    answer = await crm.client.get(f"{kind}/{party_id}", {"with": _WITH[kind]})
    if answer is None:
        raise NotFound("contact" if kind == "contacts" else "company", str(party_id))
    return parse(Party, answer)


def party_view(kind: Kind, party: Party, names: View) -> dict[str, Any]:
    return known(
        {
            "id": party.id,
            "name": party.name,
            "responsible_user_id": party.responsible_user_id,
            "responsible": names.person(party.responsible_user_id),
            "created_at": names.time(party.created_at),
            "updated_at": names.time(party.updated_at),
            "closest_task_at": names.time(party.closest_task_at),
            "fields": fields(party.custom_fields_values),
            **{f"{key}_ids": linked(party.embedded, key) for key in LINKS[kind]},
            "url": names.url(kind, party.id),
        }
    )


def _body(arguments: dict[str, Any]) -> dict[str, Any]:
    """Phone and e-mail are custom fields with fixed codes."""
    values = [
        {"field_code": code, "values": [{"value": arguments[name], "enum_code": "WORK"}]}
        for name, code in (("phone", "PHONE"), ("email", "EMAIL"))
        if name in arguments
    ]
    body = {key: value for key, value in arguments.items() if key not in ("phone", "email")}
    return {**body, **({"custom_fields_values": values} if values else {})}


def _tools(kind: Kind, one: str, what: str) -> tuple[CrmTool, ...]:
    own = {"name": NAME, "responsible_user_id": USER, "phone": PHONE, "email": EMAIL}
    replaced = {
        "phone": {**PHONE, "description": "Replaces the phone numbers there are."},
        "email": {**EMAIL, "description": "Replaces the e-mail addresses there are."},
    }
    text = {"type": "string", "minLength": 1, "maxLength": 250, "description": "Name, phone, e-mail or other field."}
    return (
        CrmTool(
            f"{kind}_search",
            f"Search {kind}",
            f"{what} of the CRM, the last changed first, with their fields and linked entities.",
            {"query": text, "responsible_user_id": USER, "limit": LIMIT, "offset": OFFSET},
            (),
            "read",
            search(kind),
        ),
        CrmTool(
            f"{kind}_create",
            f"Create a {one}",
            f"Create a {one}. Search first: it may exist.",
            own,
            ("name",),
            "add",
            create(kind),
        ),
        CrmTool(
            f"{kind}_update",
            f"Update a {one}",
            f"Change a {one}'s name, responsible user, phone or e-mail. Answers with it before and after.",
            {"id": {**ID, "description": f"Of the {one}."}, **own, **replaced},
            ("id",),
            "change",
            update(kind),
        ),
    )


TOOLS = (*_tools("contacts", "contact", "Contacts (people)"), *_tools("companies", "company", "Companies"))
