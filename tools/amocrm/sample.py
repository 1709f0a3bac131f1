"""A sample account for trying the tools without amoCRM: `consilium mcp-amocrm --sample`. Kept in memory, gone with the process.

It answers as amoCRM's API v4 is documented to: lists with filters, order and pages of at most 250 (`_links.next`), 204 for
nothing, `application/problem+json` for what is refused. The client reaches it through its own HTTP client, without a network.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import yaml

from domain.errors import ConfigurationError
from tools.amocrm.directory import LOST, UNSORTED_TYPE, WON

FILE: Final = Path(__file__).resolve().parents[2] / "demo" / "crm.yaml"
URL: Final = "http://sample.invalid"
DAY: Final = 86_400
KINDS: Final = ("leads", "contacts", "companies", "tasks")
Row = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


@dataclass
class SampleAccount:
    """An account's entities as the API gives them. `filters`: whether it has paid for API filtering; `administrator`: whether the
    token's user is one."""

    settings: Row = field(default_factory=dict)
    users: list[Row] = field(default_factory=list)
    pipelines: list[Row] = field(default_factory=list)
    leads: list[Row] = field(default_factory=list)
    contacts: list[Row] = field(default_factory=list)
    companies: list[Row] = field(default_factory=list)
    tasks: list[Row] = field(default_factory=list)
    notes: list[Row] = field(default_factory=list)
    filters: bool = True
    administrator: bool = True
    created: int = 0
    """Entities that have been created, from which ids are made."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The account as an ASGI app."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        answer = self.answer(scope["method"], scope["path"], query, json.loads(body) if body else None)
        await send_answer(answer, send)

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Answer:
        """What amoCRM would answer to a request with a good token."""
        name = path.removeprefix("/api/v4/")
        match method, name:
            case "GET", "account":
                return self._account(query)
            case "GET", "leads/pipelines":
                return hal({"_total_items": len(self.pipelines), "_embedded": {"pipelines": self.pipelines}})
            case "GET", "users" if self.administrator:
                return page(path, "users", self.users, query)
            case "GET", "users":
                return problem(403, "Forbidden", "No rights to this method")
        if found := re.fullmatch(r"(leads|contacts|companies)/(\d+)/notes(?:/(\d+))?", name):
            return self._notes(method, path, (found[1], int(found[2])), found[3], query, body)
        if found := re.fullmatch(rf"({'|'.join(KINDS)})(?:/(\d+))?", name):
            return self._entities(method, path, found[1], found[2], query, body)
        return problem(404, "Not Found", "There is no such method")

    def _account(self, query: Mapping[str, str]) -> Answer:
        asked = query.get("with", "").split(",")
        shown = {key: value for key, value in self.settings.items() if key != "datetime_settings"}
        if "is_api_filter_enabled" in asked:
            shown["is_api_filter_enabled"] = self.filters
        if "datetime_settings" in asked:
            shown["_embedded"] = {"datetime_settings": self.settings.get("datetime_settings", {})}
        return hal(shown)

    def _entities(
        self, method: str, path: str, kind: str, id: str | None, query: Mapping[str, str], body: Any
    ) -> Answer:
        rows: list[Row] = getattr(self, kind)
        row = next((row for row in rows if str(row["id"]) == id), None)
        if method == "GET" and id is not None:
            return hal(row) if row is not None else (204, {}, b"")
        if method == "GET":
            fits = [row for row in rows if self._fits(kind, row, query)]
            for name, way in query.items():
                if found := re.fullmatch(r"order\[(\w+)\]", name):
                    fits.sort(key=lambda row: row.get(found[1]) or 0, reverse=way == "desc")
            return page(path, kind, fits, query)
        given = body[0] if method == "POST" else body
        if wrong := self._wrong(kind, given, creating=method == "POST"):
            return wrong
        if method == "POST" and id is None:
            entity_id = self._new_id(rows)
            rows.append(self._made(kind, entity_id, given))
            return hal({"_embedded": {kind: [{"id": entity_id, "request_id": "0"}]}})
        if method == "PATCH" and row is not None:
            row.update(given)
            row["updated_at"] = int(time.time())
            if kind == "leads" and "status_id" in given:
                row["closed_at"] = row["updated_at"] if given["status_id"] in (WON, LOST) else None
            return hal({"id": row["id"], "updated_at": row["updated_at"]})
        return problem(404, "Not Found", "There is no such entity")

    def _notes(
        self, method: str, path: str, at: tuple[str, int], id: str | None, query: Mapping[str, str], body: Any
    ) -> Answer:
        mine = [note for note in self.notes if (note["entity_type"], note["entity_id"]) == at]
        note = next((note for note in mine if str(note["id"]) == id), None)
        if method == "GET" and id is None:
            return page(path, "notes", sorted(mine, key=lambda one: -int(one["updated_at"])), query)
        if method == "GET":
            return hal(note) if note else (204, {}, b"")
        if method == "POST":
            if not any(row["id"] == at[1] for row in getattr(self, at[0])):
                return refusal("entity_id", "EntityNotFound", "There is no such entity.")
            note_id, now = self._new_id(self.notes), int(time.time())
            stamps = {"created_by": self._me(), "created_at": now, "updated_at": now}
            self.notes.append({**body[0], "id": note_id, "entity_type": at[0], "entity_id": at[1], **stamps})
            return hal({"_embedded": {"notes": [{"id": note_id, "entity_id": at[1], "request_id": "0"}]}})
        if note is None:
            return problem(404, "Not Found", "There is no such note")
        note.update(body)
        return hal({"id": note["id"], "entity_id": at[1], "updated_at": note["updated_at"]})

    def _made(self, kind: str, id: int, given: Row) -> Row:
        now = int(time.time())
        row: Row = {"responsible_user_id": self._me(), "created_at": now, "updated_at": now, "is_deleted": False}
        if kind == "leads":
            main = next(one for one in self.pipelines if one["is_main"])
            first = next(one for one in main["_embedded"]["statuses"] if one["type"] != UNSORTED_TYPE)
            row |= {"price": 0, "pipeline_id": main["id"], "status_id": first["id"], "closed_at": None}
        if kind == "tasks":
            row |= {"is_completed": False, "result": []}
        return {**row, **given, "id": id, "_embedded": {"tags": [], **given.get("_embedded", {})}}

    def _wrong(self, kind: str, given: Row, *, creating: bool) -> Answer | None:
        if kind == "tasks" and creating and not {"text", "complete_till"} <= given.keys():
            return refusal("complete_till", "FieldMissing", "This field is missing.")
        people = [user["id"] for user in self.users]
        if "responsible_user_id" in given and given["responsible_user_id"] not in people:
            return refusal("responsible_user_id", "NotSupportedChoice", "The value you selected is not a valid choice.")
        return None

    def _fits(self, kind: str, row: Row, query: Mapping[str, str]) -> bool:
        if row.get("is_deleted"):
            return False
        if "query" in query and query["query"].lower() not in json.dumps(row, ensure_ascii=False).lower():
            return False
        if not self.filters and kind != "tasks":
            return True
        return all(_holds(row, name, wanted) for name, wanted in query.items() if name.startswith("filter["))

    def _new_id(self, rows: list[Row]) -> int:
        self.created += 1
        return int(max((row["id"] for row in rows), default=0)) + 1

    def _me(self) -> int | None:
        return self.users[0]["id"] if self.users else None


def _holds(row: Row, name: str, wanted: str) -> bool:
    """Whether one `filter[...]` lets a row through; for statuses each of the pair is checked by itself."""
    found = re.fullmatch(r"filter\[(\w+)\](?:\[(\w+)\])?(?:\[(\w+)\])?", name)
    if found is None:
        return True
    value = row.get(found[3] if found[1] == "statuses" else found[1])
    match found[2]:
        case "from":
            return value is not None and value >= int(wanted)
        case "to":
            return value is not None and value <= int(wanted)
    return str(int(value) if isinstance(value, bool) else value) == wanted


def page(path: str, key: str, rows: list[Row], query: Mapping[str, str]) -> Answer:
    """One page of a list; 204 where it is empty."""
    number, limit = int(query.get("page", 1)), int(query.get("limit", 50))
    if not 1 <= limit <= 250:
        return refusal("limit", "InvalidRange", "This value should be between 1 and 250.")
    shown = rows[(number - 1) * limit : number * limit]
    if not shown:
        return 204, {}, b""
    links = {"self": {"href": f"{URL}{path}?{urlencode(query)}"}}
    if len(rows) > number * limit:
        links["next"] = {"href": f"{URL}{path}?{urlencode({**query, 'page': number + 1})}"}
    return hal({"_page": number, "_links": links, "_embedded": {key: shown}})


def hal(value: Row) -> Answer:
    return 200, {"content-type": "application/hal+json"}, json.dumps(value, ensure_ascii=False).encode()


def problem(status: int, title: str, detail: str, **more: Any) -> Answer:
    body = {"title": title, "type": f"https://httpstatus.es/{status}", "status": status, "detail": detail, **more}
    return status, {"content-type": "application/problem+json"}, json.dumps(body, ensure_ascii=False).encode()


def refusal(path: str, code: str, detail: str) -> Answer:
    """A field that is wrong."""
    errors = [{"request_id": "0", "errors": [{"code": code, "path": path, "detail": detail}]}]
    return problem(400, "Bad Request", "Request validation failed", **{"validation-errors": errors})


async def send_answer(answer: Answer, send: Any) -> None:
    status, headers, body = answer
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def read_sample(file: Path = FILE, now: float | None = None) -> SampleAccount:
    """The account of a YAML file, its days counted back from `now`. Raises ConfigurationError where there is no such file."""
    try:
        given = yaml.safe_load(file.read_text("utf-8"))
    except OSError as missing:
        raise ConfigurationError(f"The sample account can't be read: {file} ({missing.strerror})") from missing
    moment = int(time.time() if now is None else now)
    users = {user["name"]: user["id"] for user in given["users"]}
    pipelines = [_pipeline(number, one) for number, one in enumerate(given["pipelines"])]
    stages = {(one["id"], stage["name"]): stage["id"] for one in pipelines for stage in one["_embedded"]["statuses"]}
    parties = {kind: [_party(one, users, moment) for one in given.get(kind, [])] for kind in ("contacts", "companies")}
    return SampleAccount(
        settings=given["account"],
        users=[{**user, "rights": {"is_active": True, "is_admin": user["id"] == 1}} for user in given["users"]],
        pipelines=pipelines,
        leads=[_lead(one, users, stages, moment) for one in given["leads"]],
        contacts=parties["contacts"],
        companies=parties["companies"],
        tasks=[_task(one, users, moment) for one in given.get("tasks", [])],
        notes=[_note(number, one, users, moment) for number, one in enumerate(given.get("notes", []), 1)],
    )


def _pipeline(number: int, given: Row) -> Row:
    first = given["id"] * 100
    named = [
        (first, "Неразобранное", UNSORTED_TYPE),
        *((first + n, name, 0) for n, name in enumerate(given["stages"], 1)),
    ]
    named += [(WON, "Успешно реализовано", 0), (LOST, "Закрыто и не реализовано", 0)]
    statuses = [{"id": id, "name": name, "sort": 10 * n, "type": kind} for n, (id, name, kind) in enumerate(named, 1)]
    head = {"id": given["id"], "name": given["name"], "sort": number, "is_main": number == 0, "is_archive": False}
    return {**head, "is_unsorted_on": True, "_embedded": {"statuses": statuses}}


def _lead(given: Row, users: Mapping[str, int], stages: Mapping[tuple[int, str], int], now: int) -> Row:
    made, closed = now - given["created"] * DAY, given.get("closed")
    ended = None if closed is None else now - closed * DAY
    linked = {key: [{"id": given[name]}] if name in given else [] for key, name in _LINKS}
    return {
        "id": given["id"], "name": given["name"], "price": given["price"], "pipeline_id": given["pipeline"],
        "status_id": stages[given["pipeline"], given["stage"]], "responsible_user_id": users[given["responsible"]],
        "created_at": made, "updated_at": ended or made, "closed_at": ended, "closest_task_at": None, "is_deleted": False,
        "custom_fields_values": None, "_embedded": {"tags": [], **linked},
    }  # fmt: skip


_LINKS: Final = (("contacts", "contact"), ("companies", "company"))


def _party(given: Row, users: Mapping[str, int], now: int) -> Row:
    values = [
        {"field_code": code, "field_name": name, "values": [{"value": given[key], "enum_code": "WORK"}]}
        for key, code, name in (("phone", "PHONE", "Телефон"), ("email", "EMAIL", "Email"))
        if key in given
    ]
    return {
        "id": given["id"], "name": given["name"], "responsible_user_id": users[given["responsible"]],
        "created_at": now - 200 * DAY, "updated_at": now - given["id"] * 3600, "is_deleted": False,
        "custom_fields_values": values or None,
        "_embedded": {"tags": [], "leads": [{"id": one} for one in given.get("leads", [])]},
    }  # fmt: skip


def _task(given: Row, users: Mapping[str, int], now: int) -> Row:
    done = given.get("result")
    return {
        "id": given["id"], "text": given["text"], "responsible_user_id": users[given["responsible"]],
        "entity_type": "leads", "entity_id": given["lead"], "is_completed": done is not None, "task_type_id": 1,
        "complete_till": now + given["due"] * DAY, "result": {"text": done} if done else [],
        "created_at": now - 5 * DAY, "updated_at": now - DAY,
    }  # fmt: skip


def _note(id: int, given: Row, users: Mapping[str, int], now: int) -> Row:
    written = now - given["days"] * DAY
    return {
        "id": id, "entity_type": "leads", "entity_id": given["lead"], "note_type": "common",
        "params": {"text": given["text"]}, "created_by": users[given["by"]], "created_at": written, "updated_at": written,
    }  # fmt: skip
