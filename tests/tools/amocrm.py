"""A scripted amoCRM over real HTTP, as the public documentation of its API v4 describes it: the product's sample account behind a
token, OAuth, 429 above 7 requests a second, and faults that can be switched on."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import uvicorn

from tools.amocrm.sample import Answer, Row, SampleAccount, problem, send_answer

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


def _task(id: int, text: str, who: int, entity_id: int, due: int, done: str | None = None) -> Row:
    return {
        "id": id, "text": text, "responsible_user_id": who, "entity_id": entity_id, "entity_type": "leads",
        "is_completed": done is not None, "task_type_id": 1, "complete_till": due, "result": {"text": done} if done else [],
        "created_at": NOVEMBER, "updated_at": NOVEMBER, "account_id": 7,
    }  # fmt: skip


def _note(id: int, kind: str, at: int, **params: Any) -> Row:
    return {
        "id": id, "entity_type": "leads", "entity_id": 1, "note_type": kind, "params": params, "created_by": ANNA,
        "created_at": NOVEMBER, "updated_at": at,
    }  # fmt: skip


def _users() -> list[Row]:
    people = [(ANNA, "Анна Соколова", True), (BORIS, "Борис Ким", False)]
    return [
        {"id": id, "name": name, "email": f"{id}@crm.example", "rights": {"is_active": True, "is_admin": admin}}
        for id, name, admin in people
    ]


@dataclass
class Amo(SampleAccount):
    """The account. `requests` are (method, path, query, body); `refused` counts those above the limit. `answers` are sent before
    the account's own: (status, headers, body), or None for silence until the client leaves."""

    settings: Row = field(
        default_factory=lambda: {
            "id": 7, "name": "Северный ветер", "subdomain": "example", "current_user_id": ANNA, "currency": "RUB",
            "datetime_settings": {"timezone": "Europe/Moscow", "timezone_offset": "+03:00"},
        }
    )  # fmt: skip
    users: list[Row] = field(default_factory=_users)
    pipelines: list[Row] = field(default_factory=pipelines)
    leads: list[Row] = field(default_factory=sample_leads)
    contacts: list[Row] = field(default_factory=lambda: [_party(21, "Иван Петров", "+7 900 111-22-33")])
    companies: list[Row] = field(default_factory=lambda: [_party(41, "ООО «Гелиос»", "+7 495 000-00-00")])
    tasks: list[Row] = field(
        default_factory=lambda: [
            _task(61, "Позвонить", ANNA, 1, NOVEMBER + 21 * DAY),
            _task(62, "Встретиться", BORIS, 4, NOVEMBER + 2 * DAY, "Согласовали"),
        ]
    )
    notes: list[Row] = field(
        default_factory=lambda: [
            _note(81, "common", NOVEMBER, text="Просят скидку"),
            _note(82, "call_in", NOVEMBER + 5, uniq="u", duration=60, source="ATC", phone="+79001112233"),
        ]
    )
    url: str = ""
    token: str = TOKEN
    refresh_token: str = "refresh-1"
    per_second: int = 7
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    answers: deque[Answer | None] = field(default_factory=deque)
    refused: int = 0
    exchanged: int = 0
    _times: deque[float] = field(default_factory=deque)

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
        answer = self._guarded(scope["method"], scope["path"], query, given, headers.get("authorization"))
        if answer is None:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await send_answer(answer, send)

    def _guarded(self, method: str, path: str, query: dict[str, str], body: Any, shown: str | None) -> Answer | None:
        if self._too_fast():
            self.refused += 1
            return 429, {}, b""
        if self.answers:
            return self.answers.popleft()
        if path == "/oauth2/access_token":
            return self._exchange(body)
        if shown != f"Bearer {self.token}":
            return problem(401, "Unauthorized", "Неверный логин или пароль")
        return self.answer(method, path, query, body)

    def _too_fast(self) -> bool:
        now = time.monotonic()
        while self._times and self._times[0] <= now - 1:
            self._times.popleft()
        self._times.append(now)
        return len(self._times) > self.per_second

    def _exchange(self, given: Row) -> Answer:
        expected = {**CLIENT, "grant_type": "refresh_token", "refresh_token": self.refresh_token}
        if given != expected:
            return problem(400, "Некорректный запрос", "Refresh token has been revoked", hint="Token has been revoked")
        self.exchanged += 1
        self.token, self.refresh_token = f"access-{self.exchanged}", f"refresh-{self.exchanged + 1}"
        pair = {"token_type": "Bearer", "expires_in": 86400, "server_time": int(time.time()), "access_token": self.token,
                "refresh_token": self.refresh_token}  # fmt: skip
        return 200, {"content-type": "application/json"}, json.dumps(pair).encode()


@asynccontextmanager
async def serve_amo(**account: Any) -> AsyncIterator[Amo]:
    """The account, served while the block runs, in the test's own event loop."""
    amo = Amo(**account)
    server = uvicorn.Server(uvicorn.Config(amo, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
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
