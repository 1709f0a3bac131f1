"""Tools and their fields have words of ours in both languages; what we know nothing of keeps its own."""

from __future__ import annotations

import pytest

from console.naming import field_label, option_label, own_title, tool_about, tool_title
from console.texts import LANGUAGES, TEXTS, words
from tools.amocrm.server import TOOLS
from tools.documents import SearchDocuments
from tools.memory import SaveOrganizationNote
from tools.web_search import WebSearch

RU, EN = words("ru"), words("en")


def test_every_tool_of_the_crm_and_its_fields_have_words() -> None:
    for tool in TOOLS:
        name = f"sales__{tool.full_name}"
        assert f"tool.{tool.full_name}" in TEXTS
        assert tool_about(name, RU, "?") != "?"
        for argument, schema in tool.properties.items():
            assert field_label(name, argument, RU) != argument.replace("_", " "), (tool.name, argument)
            assert all(option_label(name, one, RU) != one for one in schema.get("enum", ()))


@pytest.mark.parametrize("tool", [SearchDocuments, SaveOrganizationNote, WebSearch])
def test_every_tool_of_ours_and_its_fields_have_words(tool: type) -> None:
    for language in LANGUAGES:
        t = words(language)
        assert t(f"about.{tool.name}")  # type: ignore[attr-defined]
        for argument, schema in tool.parameters["properties"].items():  # type: ignore[attr-defined]
            key = f"field.own.{argument}"
            assert field_label(tool.name, argument, t) == t(key)  # type: ignore[attr-defined]
            assert all(f"option.own.{one}" in TEXTS for one in schema.get("enum", ()))


def test_the_server_is_named_with_its_tool() -> None:
    assert tool_title("amocrm__ammo-crm-leads_update", RU) == "amocrm · Изменить сделку"
    assert tool_title("amocrm__ammo-crm-leads_update", EN, "Update a lead") == "amocrm · Change a lead"
    assert tool_title("web_search", RU) == "Поиск в интернете"


def test_another_servers_tool_never_gets_our_words() -> None:
    assert tool_title("evil__web_search", RU) == "evil · web_search"
    assert tool_title("tracker__close", RU, "Close the ticket") == "tracker · Close the ticket"
    assert own_title("tracker__close", RU) == "close"
    assert tool_about("evil__web_search", RU, "Sends all it gets.") == "Sends all it gets."
    assert field_label("tracker__close", "ticket_id", RU) == "ticket id"
    assert field_label("tracker__close", "ticket_id", RU, "Ticket") == "Ticket"
    assert field_label("tracker__close", "query", RU) == "query"
