"""Tasks: search, create, update and complete."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from domain.errors import InvalidToolArguments, NotFound
from tools.amocrm.directory import parse
from tools.amocrm.leads import changed, created
from tools.amocrm.listing import listed
from tools.amocrm.period import DATE, MOMENT, moment, period
from tools.amocrm.tool import ID, LIMIT, OFFSET, USER, Crm, CrmTool
from tools.amocrm.view import View, known, view

ENTITY_TYPE = {
    "type": "string",
    "enum": ["leads", "contacts", "companies"],
    "description": "What the task is linked to.",
}
ENTITY_ID = {**ID, "description": "Id of what the task is linked to."}
TEXT = {"type": "string", "minLength": 1, "maxLength": 5000}


class Task(BaseModel):
    """A task as amoCRM gives it. `result` is [] where there is none."""

    id: int
    text: str | None = None
    responsible_user_id: int | None = None
    entity_id: int | None = None
    entity_type: str | None = None
    is_completed: bool = False
    task_type_id: int | None = None
    complete_till: int | None = None
    created_at: int | None = None
    updated_at: int | None = None
    result: dict[str, Any] | list[Any] | None = None


async def search(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    names = await view(crm)
    due = period(arguments, names.zone)
    if "entity_id" in arguments and "entity_type" not in arguments:
        raise InvalidToolArguments("entity_type: say what entity_id is the id of.", fields=["entity_type"])
    wanted = {
        name: arguments[name]
        for name in ("responsible_user_id", "entity_type", "entity_id", "is_completed")
        if name in arguments
    }
    found = await listed(
        crm.client,
        "tasks",
        Task,
        {"order[complete_till]": "asc", **{f"filter[{name}]": int(value) if isinstance(value, bool) else value
                                           for name, value in wanted.items()}},
        lambda task: task.complete_till in due and all(getattr(task, name) == value for name, value in wanted.items()),
        offset=arguments.get("offset", 0),
        limit=arguments.get("limit", 25),
        exact=not due,
    )  # fmt: skip
    return {"tasks": [task_view(task, names) for task in found.items], "more": found.more, "complete": found.complete}


async def create(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    if ("entity_id" in arguments) != ("entity_type" in arguments):
        raise InvalidToolArguments("entity_id: goes together with entity_type.", fields=["entity_id", "entity_type"])
    names = await view(crm)
    body = {**arguments, "complete_till": moment("complete_till", arguments["complete_till"], names.zone)}
    answer = await crm.client.post("tasks", [body])
    return {key: value for key, value in created(answer, "tasks", names).items() if key != "url"}


async def update(crm: Crm, arguments: dict[str, Any]) -> dict[str, Any]:
    body = {key: value for key, value in arguments.items() if key not in ("id", "result")}
    if "result" in arguments:
        body["result"] = {"text": arguments["result"]}
    if not body:
        raise InvalidToolArguments("arguments: name at least one field to change.")
    if "result" in arguments and not arguments.get("is_completed"):
        raise InvalidToolArguments("result: is that of a task which is_completed.", fields=["result", "is_completed"])
    before, names = await get(crm, arguments["id"]), await view(crm)
    if "complete_till" in body:
        body["complete_till"] = moment("complete_till", body["complete_till"], names.zone)
    await crm.client.patch(f"tasks/{before.id}", body)
    return await changed(task_view(before, names), lambda: get(crm, before.id), lambda after: task_view(after, names))


async def get(crm: Crm, task_id: int) -> Task:
    """Raises NotFound."""
    answer = await crm.client.get(f"tasks/{task_id}")
    if answer is None:
        raise NotFound("task", str(task_id))
    return parse(Task, answer)


def task_view(task: Task, names: View) -> dict[str, Any]:
    return known(
        {
            "id": task.id,
            "text": task.text,
            "complete_till": names.time(task.complete_till),
            "is_completed": task.is_completed,
            "result": task.result.get("text") if isinstance(task.result, dict) else None,
            "task_type_id": task.task_type_id,
            "entity_type": task.entity_type,
            "entity_id": task.entity_id,
            "responsible_user_id": task.responsible_user_id,
            "responsible": names.person(task.responsible_user_id),
            "created_at": names.time(task.created_at),
            "updated_at": names.time(task.updated_at),
        }
    )


_TYPE = {**ID, "description": "1 is a call, 2 a meeting; accounts have more of their own."}
TOOLS = (
    CrmTool(
        "tasks_search",
        "Search tasks",
        "Tasks of the CRM, the earliest due first, by responsible user, linked entity, whether done, and when due.",
        {
            "responsible_user_id": USER,
            "is_completed": {"type": "boolean", "description": "Only those done, or only those not done."},
            "entity_type": ENTITY_TYPE,
            "entity_id": ENTITY_ID,
            "date_from": {**DATE, "description": "Due on this day or later."},
            "date_to": {**DATE, "description": "Due on this day or earlier."},
            "limit": LIMIT,
            "offset": OFFSET,
        },
        (),
        "read",
        search,
    ),
    CrmTool(
        "tasks_create",
        "Create a task",
        "Create a task, usually linked to a lead, contact or company.",
        {
            "text": TEXT,
            "complete_till": MOMENT,
            "entity_type": ENTITY_TYPE,
            "entity_id": ENTITY_ID,
            "responsible_user_id": USER,
            "task_type_id": _TYPE,
        },
        ("text", "complete_till"),
        "add",
        create,
    ),
    CrmTool(
        "tasks_update",
        "Update a task",
        "Change a task: its text, when it is due, who is responsible, or complete it with a result. Answers with it before and after.",
        {
            "id": {**ID, "description": "Of the task."},
            "text": TEXT,
            "complete_till": MOMENT,
            "responsible_user_id": USER,
            "task_type_id": _TYPE,
            "is_completed": {"type": "boolean"},
            "result": {**TEXT, "description": "What came of it; with is_completed true."},
        },
        ("id",),
        "change",
        update,
    ),
)
