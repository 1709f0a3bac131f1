"""What a real server refuses is said in Russian, with the field and the fix; its own English is kept."""

from __future__ import annotations

from typing import Any

import pytest

from console.api import Api, ApiError, open_http
from console.refusals import Refusal, failure, refusal
from console.texts import words
from domain.errors import InvalidInput
from tests.serving import Served
from tools.amocrm.leads import TOOLS
from tools.decisions import read_decisions

RU, EN = words("ru"), words("en")
SKILL: dict[str, Any] = {
    "title": {"ru": "Налоги", "en": "Taxes"}, "description": "Taxes.", "prompt": "You know taxes.", "tools": [],
}  # fmt: skip
SERVER: dict[str, Any] = {"name": "crm", "url": "https://crm.example.com/mcp", "enabled": False}


def skill(name: str = "tax_agent", **changes: Any) -> dict[str, Any]:
    return {"json": {"name": name, "definition": {**SKILL, **changes}}}


def mcp(**changes: Any) -> dict[str, Any]:
    return {"json": {**SERVER, **changes}}


def file(name: str, content: bytes = b"x") -> dict[str, Any]:
    return {"files": {"file": (name, content)}}


@pytest.mark.parametrize(
    ("path", "sent", "expected"),
    [
        ("notes", {"json": {}}, "«Текст»: заполните это поле."),
        ("notes", {"json": {"text": "x" * 501}}, "«Текст»: слишком длинно, знаков можно не больше 500."),
        ("notes", {"json": {"text": 5}}, "«Текст»: здесь нужен текст."),
        ("skills", skill("Tax agent!"), "«Имя»: латинские буквы, цифры"),
        ("skills", skill("main"), "Навык «main» уже есть"),
        ("skills", skill("auto"), "«Имя»: имя «auto» занято системой"),
        ("skills", skill(description=""), "«Когда его спрашивать»: заполните это поле."),
        ("skills", skill(tools=["magic"]), "«Инструменты»: такого нет: 'magic'. Уберите или исправьте."),
        ("skills", skill(mcp_servers=["nowhere"]), "«Серверы MCP»: такого нет: 'nowhere'"),
        ("skills", skill(retrieval={"passages": 51}), "«Фрагментов документов»: укажите число не больше 50."),
        ("skills", skill(retrieval={"notes": -1}), "«Фактов из памяти»: укажите число не меньше 0."),
        ("mcp/servers", mcp(url="crm.example.com"), "«Адрес»: укажите адрес, который начинается с http"),
        ("mcp/servers", mcp(url="https://a:b@crm.example.com"), "«Адрес»: уберите пароль из адреса"),
        ("mcp/servers", mcp(url="http://127.0.0.1:9/mcp"), "«Адрес»: это внутренний адрес."),
        ("mcp/servers", mcp(name="Мой CRM"), "«Имя»: латинские буквы, цифры"),
        ("mcp/servers", mcp(agents=["nobody"]), "«Кому доступен»: такого нет: 'nobody'"),
        ("mcp/servers", mcp(headers={"Authorization": "ключ"}), "«Ключ доступа»: ключ не годится"),
        ("mcp/servers", mcp(transport="carrier pigeon"), "Неверный вид: проверьте знаки и порядок."),
        ("documents", file("a.exe"), "Такие файлы не читаются."),
        ("documents", file("a.txt", b"x" * (25 * 2**20 + 1)), "Слишком большой файл, можно не больше 25 МБ."),
    ],
)
async def test_what_is_refused_names_the_field_and_the_fix(
    server: Served, path: str, sent: dict[str, Any], expected: str
) -> None:
    error = await refused(server, path, sent)
    told = refusal(error, RU, "ru")
    assert told.sentence(RU).replace("\u00a0", " ").startswith(expected), (told, error.message)
    assert told.original == error.message
    english = refusal(error, EN, "en")
    assert (english.sentence(EN), english.original) == (error.message, None)


async def test_what_has_no_words_is_shown_as_it_is(server: Served) -> None:
    error = ApiError("teapot", "I am a teapot.", status=418)
    assert refusal(error, RU, "ru") == Refusal("I am a teapot.")
    await refused(server, "mcp/servers", mcp(url=""))  # and one that has, above, is one the server still gives


async def refused(server: Served, path: str, sent: dict[str, Any]) -> ApiError:
    async with open_http(server.url) as http:
        with pytest.raises(ApiError) as caught:
            await Api(http, server.token()).call("POST", f"/v1/{path}", **sent)
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"id": 104, "price": -5}, "«Бюджет, в валюте CRM»: укажите число не меньше 0."),
        ({"id": 104, "price": "many"}, "«Бюджет, в валюте CRM»: здесь нужно целое число."),
        ({"id": 104, "name": ""}, "«Название сделки»: заполните это поле."),
        ({"price": 5}, "Заполните это поле."),
        ({"id": 104, "colour": "red"}, "Такого поля нет: 'colour'."),
    ],
)
def test_arguments_that_do_not_fit_a_tool(arguments: dict[str, Any], expected: str) -> None:
    name = "amocrm__ammo-crm-leads_update"
    tool = next(one for one in TOOLS if one.name == "leads_update")
    call = {"name": name, "args": {}, "title": None, "description": "", "tool_call_id": "c"}
    request: Any = {
        "action_requests": [call],
        "review_configs": [{"action_name": name, "args_schema": tool.parameters}],
    }
    edit = {"type": "edit", "edited_action": {"name": name, "args": arguments}}
    with pytest.raises(InvalidInput) as wrong:
        read_decisions(request, {"decisions": [edit]}, "command.resume.i1")
    error = ApiError("invalid_input", wrong.value.message, status=422, details=wrong.value.details)
    assert refusal(error, RU, "ru", tools=[name]).sentence(RU) == expected, error.message


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("document_unreadable", "The file is empty.", "Файл пуст."),
        ("document_unreadable", "The PDF is encrypted; upload it without a password.", "Файл защищён паролем"),
        ("document_unreadable", "The file is not a PDF.", "Файл повреждён"),
        (
            "document_unreadable",
            "The file has no text layer (a scan?); run it through OCR first.",
            "В файле нет текста",
        ),
        ("document_unreadable", "The PDF has 9000 pages; at most 5000 are read.", "В файле слишком много текста."),
        ("provider_unavailable", "openai: connection refused", "Модели не ответили."),
        ("internal_error", None, "На сервере ошибка."),
    ],
)
def test_why_something_failed(code: str, message: str | None, expected: str) -> None:
    told = failure(code, message, RU, "ru")
    assert told.problem.startswith(expected)
    assert told.original == message
    assert failure(code, message, EN, "en").original is None
