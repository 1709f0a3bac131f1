"""A scripted amoCRM over real HTTP, written from the public documentation of its API v4: account, users, pipelines, leads, contacts,
companies, tasks, notes; OAuth; pages of at most 250 with `_links.next`; 204 for nothing; `application/problem+json`; 429 above 7
requests a second.

`python -m tests.tools.amocrm --port 9100` serves the sample account until interrupted.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn

TOKEN = "amo-a-token-that-must-not-be-seen-anywhere"
CLIENT = {
    "client_id": "integration-1",
    "client_secret": "amo-secret-not-to-be-seen",
    "redirect_uri": "https://crm.example/done",
}
ANNA, BORIS = 501, 502
MAIN, PARTNERS, OLD = 31, 32, 33
NEW, TALKS, DECISION, WON, LOST = 3101, 3102, 3103, 142, 143
DAY = 86_400
NOVEMBER = 1_793_480_400
"""1 November 2026, midnight in Moscow."""
LISTS = ("leads", "contacts", "companies", "tasks")
Answer = tuple[int, dict[str, str], bytes]


def stages(*middle: tuple[int, str]) -> list[dict[str, Any]]:
    named = [
        (middle[0][0] - 1, "Неразобранное", 10, 1),
        *((id, name, 20 + i, 0) for i, (id, name) in enumerate(middle)),
    ]
    named += [(WON, "Успешно реализовано", 10_000, 0), (LOST, "Закрыто и не реализовано", 11_000, 0)]
    return [
        {"id": id, "name": name, "sort": sort, "type": kind, "is_editable": kind == 0} for id, name, sort, kind in named
    ]


def pipelines() -> list[dict[str, Any]]:
    three = [
        (
            MAIN,
            "Продажи",
            True,
            False,
            stages((NEW, "Первичный контакт"), (TALKS, "Переговоры"), (DECISION, "Принимают решение")),
        ),
        (PARTNERS, "Партнёры", False, False, stages((3202, "Знакомство"))),
        (OLD, "Старая воронка", False, True, stages((3302, "Заявка"))),
    ]
    return [
        {"id": id, "name": name, "sort": n, "is_main": main, "is_unsorted_on": True, "is_archive": archive,
         "_embedded": {"statuses": found}}
        for n, (id, name, main, archive, found) in enumerate(three)
    ]  # fmt: skip


def lead(id: int, name: str, price: int | None, status_id: int, created: int, **more: Any) -> dict[str, Any]:
    closed = more.pop("closed_at", None)
    return {
        "id": id, "name": name, "price": price, "responsible_user_id": more.pop("responsible_user_id", ANNA), "group_id": 0,
        "status_id": status_id, "pipeline_id": more.pop("pipeline_id", MAIN), "loss_reason_id": None, "created_by": ANNA,
        "updated_by": ANNA, "created_at": created, "updated_at": closed or created, "closed_at": closed,
        "closest_task_at": None, "is_deleted": False, "custom_fields_values": None, "score": None, "account_id": 7,
        "_embedded": {"tags": [], "companies": [], "contacts": []}, **more,
    }  # fmt: skip


def sample_leads() -> list[dict[str, Any]]:
    """In November: open 5 for 1,450,000; won one of 700,000; lost one of 90,000. Before it: one won, one lost."""
    return [
        lead(1, "Насосы для «Гелиос»", 250_000, NEW, NOVEMBER + DAY),
        lead(2, "Сервисный договор", 120_000, NEW, NOVEMBER + 3 * DAY, responsible_user_id=BORIS),
        lead(3, "Поставка труб", 480_000, TALKS, NOVEMBER - 40 * DAY),
        lead(4, "Модернизация котельной", 600_000, DECISION, NOVEMBER + 10 * DAY),
        lead(5, "Запчасти", 0, TALKS, NOVEMBER + 12 * DAY, responsible_user_id=BORIS),
        lead(6, "Аренда", 700_000, WON, NOVEMBER - 20 * DAY, closed_at=NOVEMBER + 5 * DAY),
        lead(7, "Пусконаладка", 90_000, LOST, NOVEMBER + 2 * DAY, closed_at=NOVEMBER + 9 * DAY),
        lead(8, "Октябрьская поставка", 310_000, WON, NOVEMBER - 30 * DAY, closed_at=NOVEMBER - 2 * DAY),
        lead(9, "Отказ в октябре", 50_000, LOST, NOVEMBER - 30 * DAY, closed_at=NOVEMBER - 1),
        lead(10, "Партнёр на Урале", 40_000, 3202, NOVEMBER + 4 * DAY, pipeline_id=PARTNERS),
        lead(11, "В корзине", 1, NEW, NOVEMBER, is_deleted=True),
    ]


def _party(id: int, name: str, phone: str) -> dict[str, Any]:
    values = [{"field_id": 901, "field_name": "Телефон", "field_code": "PHONE", "field_type": "multitext",
               "values": [{"value": phone, "enum_id": 1, "enum_code": "WORK"}]}]  # fmt: skip
    return {
        "id": id, "name": name, "responsible_user_id": ANNA, "created_at": NOVEMBER, "updated_at": NOVEMBER + id,
        "closest_task_at": None, "is_deleted": False, "custom_fields_values": values, "account_id": 7,
        "_embedded": {"tags": [], "leads": [{"id": 1}], "companies": [], "contacts": []},
    }  # fmt: skip


@dataclass
class Amo:
    """The account. `requests` are (method, path, query, body); `refused` counts the requests above the limit. `answers` are
    sent before the account's own: (status, headers, body), or None for silence until the client leaves."""

    url: str = ""
    token: str = TOKEN
    refresh_token: str = "refresh-1"
    filters: bool = True
    admin: bool = True
    per_second: int = 7
    leads: list[dict[str, Any]] = field(default_factory=sample_leads)
    contacts: list[dict[str, Any]] = field(default_factory=lambda: [_party(21, "Иван Петров", "+7 900 111-22-33")])
    companies: list[dict[str, Any]] = field(default_factory=lambda: [_party(41, "ООО «Гелиос»", "+7 495 000-00-00")])
    tasks: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"id": 61, "text": "Позвонить", "responsible_user_id": ANNA, "entity_id": 1, "entity_type": "leads",
             "is_completed": False, "task_type_id": 1, "complete_till": NOVEMBER + 21 * DAY, "result": [],
             "created_at": NOVEMBER, "updated_at": NOVEMBER, "account_id": 7},
            {"id": 62, "text": "Встретиться", "responsible_user_id": BORIS, "entity_id": 4, "entity_type": "leads",
             "is_completed": True, "task_type_id": 2, "complete_till": NOVEMBER + 2 * DAY, "result": {"text": "Согласовали"},
             "created_at": NOVEMBER, "updated_at": NOVEMBER, "account_id": 7},
        ]
    )  # fmt: skip
    notes: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"id": 81, "entity": "leads", "entity_id": 1, "note_type": "common", "params": {"text": "Просят скидку"},
             "created_by": ANNA, "created_at": NOVEMBER, "updated_at": NOVEMBER},
            {"id": 82, "entity": "leads", "entity_id": 1, "note_type": "call_in", "created_by": 0, "created_at": NOVEMBER,
             "updated_at": NOVEMBER + 5, "params": {"uniq": "u", "duration": 60, "source": "ATC", "phone": "+79001112233"}},
        ]
    )  # fmt: skip
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    answers: deque[Answer | None] = field(default_factory=deque)
    refused: int = 0
    exchanged: int = 0
    _times: deque[float] = field(default_factory=deque)
    _next_id: int = 1000

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        given = json.loads(body) if body else None
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append((scope["method"], scope["path"], query, given))
        if self._too_fast():
            self.refused += 1
            answer: Answer | None = (429, {}, b"")
        elif self.answers:
            answer = self.answers.popleft()
        elif scope["path"] == "/oauth2/access_token":
            answer = self._exchange(given)
        elif headers.get("authorization") != f"Bearer {self.token}":
            answer = problem(401, "Unauthorized", "Неверный логин или пароль")
        else:
            answer = self._api(scope["method"], scope["path"].removeprefix("/api/v4/"), query, given)
        if answer is None:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        status, more, content = answer
        raw = [(name.encode(), value.encode()) for name, value in more.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    def _too_fast(self) -> bool:
        now = time.monotonic()
        while self._times and self._times[0] <= now - 1:
            self._times.popleft()
        self._times.append(now)
        return len(self._times) > self.per_second

    def _exchange(self, given: dict[str, Any]) -> Answer:
        expected = {**CLIENT, "grant_type": "refresh_token", "refresh_token": self.refresh_token}
        if given != expected:
            return problem(400, "Некорректный запрос", "Refresh token has been revoked", hint="Token has been revoked")
        self.exchanged += 1
        self.token, self.refresh_token = f"access-{self.exchanged}", f"refresh-{self.exchanged + 1}"
        pair = {"token_type": "Bearer", "expires_in": 86400, "server_time": int(time.time()), "access_token": self.token,
                "refresh_token": self.refresh_token}  # fmt: skip
        return 200, {"content-type": "application/json"}, json.dumps(pair).encode()

    def _api(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if (method, path) == ("GET", "account"):
            return self._account(query)
        if (method, path) == ("GET", "leads/pipelines"):
            return hal({"_total_items": 3, "_links": {}, "_embedded": {"pipelines": pipelines()}})
        if (method, path) == ("GET", "users"):
            people = [(ANNA, "Анна Соколова", True), (BORIS, "Борис Ким", False)]
            users = [{"id": id, "name": name, "email": f"{id}@crm.example", "lang": "ru",
                      "rights": {"is_active": True, "is_admin": admin}} for id, name, admin in people]  # fmt: skip
            if not self.admin:
                return problem(403, "Forbidden", "Недостаточно прав")
            return self._page("users", users, query)
        if found := re.fullmatch(r"(leads|contacts|companies)/(\d+)/notes(?:/(\d+))?", path):
            return self._notes(method, found[1], int(found[2]), found[3], query, body)
        if found := re.fullmatch(rf"({'|'.join(LISTS)})(?:/(\d+))?", path):
            return self._entities(method, found[1], found[2], query, body)
        return problem(404, "Not Found", "Не найдено")

    def _account(self, query: dict[str, str]) -> Answer:
        asked = query.get("with", "").split(",")
        account: dict[str, Any] = {
            "id": 7,
            "name": "Северный ветер",
            "subdomain": "example",
            "current_user_id": ANNA,
            "currency": "RUB",
        }
        if "is_api_filter_enabled" in asked:
            account["is_api_filter_enabled"] = self.filters
        if "datetime_settings" in asked:
            account["_embedded"] = {"datetime_settings": {"timezone": "Europe/Moscow", "timezone_offset": "+03:00"}}
        return hal(account)

    def _entities(self, method: str, kind: str, id: str | None, query: dict[str, str], body: Any) -> Answer:
        rows: list[dict[str, Any]] = getattr(self, kind)
        row = next((row for row in rows if str(row["id"]) == id), None)
        if method == "GET" and id is not None:
            return hal(row) if row is not None else (204, {}, b"")
        if method == "GET":
            fits = [row for row in rows if self._fits(kind, row, query)]
            for name in ("updated_at", "created_at", "complete_till", "id"):
                if (way := query.get(f"order[{name}]")) is not None:
                    fits.sort(key=lambda row: row[name], reverse=way == "desc")
            return self._page(kind, fits, query)
        if method == "POST" and id is None:
            if wrong := _wrong(kind, body[0], creating=True):
                return wrong
            self._next_id += 1
            blank = (
                lead(0, "", 0, NEW, NOVEMBER) if kind == "leads" else {"created_at": NOVEMBER, "updated_at": NOVEMBER}
            )
            given = {key: value for key, value in body[0].items() if key != "_embedded"}
            rows.append(
                {
                    **blank,
                    **given,
                    "id": self._next_id,
                    "_embedded": {**blank.get("_embedded", {}), **body[0].get("_embedded", {})},
                }
            )
            return hal({"_links": {}, "_embedded": {kind: [{"id": self._next_id, "request_id": "0"}]}})
        if method == "PATCH" and row is not None:
            if wrong := _wrong(kind, body, creating=False):
                return wrong
            row.update(body)
            row["updated_at"] += 100
            return hal({"id": row["id"], "updated_at": row["updated_at"]})
        return problem(404, "Not Found", "Не найдено")

    def _notes(
        self, method: str, entity: str, entity_id: int, id: str | None, query: dict[str, str], body: Any
    ) -> Answer:
        mine = [note for note in self.notes if (note["entity"], note["entity_id"]) == (entity, entity_id)]
        note = next((note for note in mine if str(note["id"]) == id), None)
        if method == "GET" and id is None:
            return self._page("notes", sorted(mine, key=lambda one: -one["updated_at"]), query)
        if method == "GET":
            return hal(note) if note else (204, {}, b"")
        if method == "POST":
            if not any(row["id"] == entity_id for row in getattr(self, entity)):
                return problem(400, "Bad Request", "Request validation failed", path="entity_id", code="EntityNotFound")
            self._next_id += 1
            self.notes.append({**body[0], "id": self._next_id, "entity": entity, "entity_id": entity_id, "created_by": ANNA,
                               "created_at": NOVEMBER, "updated_at": NOVEMBER})  # fmt: skip
            return hal(
                {
                    "_links": {},
                    "_embedded": {"notes": [{"id": self._next_id, "entity_id": entity_id, "request_id": "0"}]},
                }
            )
        if note is None:
            return problem(404, "Not Found", "Не найдено")
        note.update(body)
        return hal({"id": note["id"], "entity_id": entity_id, "updated_at": note["updated_at"]})

    def _fits(self, kind: str, row: dict[str, Any], query: dict[str, str]) -> bool:
        if kind == "leads" and row["is_deleted"]:
            return False
        if "query" in query and query["query"].lower() not in json.dumps(row, ensure_ascii=False).lower():
            return False
        if not self.filters and kind != "tasks":
            return True
        ranges = {"from": lambda value, bound: value >= bound, "to": lambda value, bound: value <= bound}
        for name, wanted in query.items():
            found = re.fullmatch(r"filter\[(\w+)\](?:\[(\w+)\])?(?:\[(\w+)\])?", name)
            if found is None:
                continue
            field_name, bound = (found[3] if found[1] == "statuses" else found[1]), found[2]
            value = row[field_name or ""]
            if bound in ranges:
                if value is None or not ranges[bound](value, int(wanted)):
                    return False
            elif str(int(value) if isinstance(value, bool) else value) != wanted:
                return False
        return True

    def _page(self, key: str, rows: list[dict[str, Any]], query: dict[str, str]) -> Answer:
        page, limit = int(query.get("page", 1)), int(query.get("limit", 50))
        if limit > 250:
            return problem(400, "Bad Request", "Request validation failed", path="limit", code="InvalidRange")
        shown = rows[(page - 1) * limit : page * limit]
        if not shown:
            return 204, {}, b""
        links = {"self": {"href": f"{self.url}/api/v4/{key}?{urlencode(query)}"}}
        if len(rows) > page * limit:
            links["next"] = {"href": f"{self.url}/api/v4/{key}?{urlencode({**query, 'page': page + 1})}"}
        return hal({"_page": page, "_links": links, "_embedded": {key: shown}})


def _wrong(kind: str, body: dict[str, Any], *, creating: bool) -> Answer | None:
    if kind == "tasks" and creating and not {"text", "complete_till"} <= body.keys():
        return problem(400, "Bad Request", "Request validation failed", path="complete_till", code="FieldMissing")
    if "responsible_user_id" in body and body["responsible_user_id"] not in (ANNA, BORIS):
        return problem(
            400, "Bad Request", "Request validation failed", path="responsible_user_id", code="NotSupportedChoice"
        )
    return None


def hal(value: dict[str, Any]) -> Answer:
    return 200, {"content-type": "application/hal+json"}, json.dumps(value, ensure_ascii=False).encode()


def problem(status: int, title: str, detail: str, *, path: str = "", code: str = "", hint: str = "") -> Answer:
    body: dict[str, Any] = {
        "title": title,
        "type": f"https://httpstatus.es/{status}",
        "status": status,
        "detail": detail,
    }
    if hint:
        body["hint"] = hint
    if path:
        wrong = {"code": code, "path": path, "detail": "The value you selected is not a valid choice."}
        body["validation-errors"] = [{"request_id": "0", "errors": [wrong]}]
    return status, {"content-type": "application/problem+json"}, json.dumps(body, ensure_ascii=False).encode()


@asynccontextmanager
async def serve_amo(port: int = 0, **account: Any) -> AsyncIterator[Amo]:
    """The account, served while the block runs, in the test's own event loop."""
    amo = Amo(**account)
    server = uvicorn.Server(
        uvicorn.Config(amo, port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    running = asyncio.create_task(server.serve())
    while not server.started:
        if running.done():
            await running
        await asyncio.sleep(0.005)
    amo.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield amo
    finally:
        server.should_exit = True
        await running


def main() -> None:
    """Serve the sample account until interrupted; its token is printed."""
    import argparse

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=9100)
    port = parser.parse_args().port

    async def serve() -> None:
        async with serve_amo(port) as amo:
            print(f"AMOCRM_BASE_URL={amo.url} AMOCRM_TOKEN={TOKEN}", flush=True)
            await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
