"""A person decides over what an agent wants to change in the CRM, in a real Chromium: `consilium serve --demo` with its sample
CRM, and a scripted model over OpenAI's wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.approving import ANALYST, results, told
from tests.console.chromium import required_or_skip
from tests.console.demo_server import demo_link
from tests.upstream.reply import Call, Reply
from tests.upstream.server import Upstream

LEAD = 104
pytestmark = pytest.mark.timeout(120)


def policy(body: dict[str, Any]) -> Reply:
    """A supervisor that hands over, and an analyst that raises a lead's price, then reads the lead again to tell it."""
    offered = {tool["function"]["name"] for tool in body.get("tools") or []}
    seen = results(body)
    if "finish_subagent" in offered:
        if not seen:
            return _call("amocrm__ammo-crm-leads_update", "change", id=LEAD, price=3_500_000)
        if len(seen) == 1:
            return _call("amocrm__ammo-crm-leads_search", "read", query="Агро-Свет")
        [lead] = json.loads(seen[-1]["content"])["leads"]
        return _call("finish_subagent", "done", summary=f"В CRM теперь: {lead['id']}, бюджет {lead['price']}.")
    if "switch_to_subagent" in offered:
        if seen:
            return Reply([told(seen[-1])])
        return _call("switch_to_subagent", "to_analyst", agent=ANALYST, task="Подними бюджет сделки «Агро-Свет».")
    return Reply(["Бюджет сделки"])


def _call(name: str, call_id: str, **arguments: Any) -> Reply:
    return Reply(calls=[Call(name, json.dumps(arguments), call_id)])


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    required_or_skip()
    with Upstream(policy) as upstream:
        key = "sk-a-key-that-must-not-be-seen-anywhere"
        variables = {"OPENAI_BASE_URL": upstream.openai_url, "OPENAI_API_KEY": key}
        with demo_link(tmp_path_factory.mktemp("decisions"), **variables) as printed:
            yield printed


def test_a_change_of_the_crm_is_edited_approved_and_made(page: Page) -> None:
    page.locator(".composer textarea").fill("Подними бюджет сделки «Агро-Свет» до 3,5 млн.")
    page.keyboard.press("Enter")
    card = page.get_by_role("group", name="Нужно ваше решение")
    expect(card).to_contain_text("Бизнес-аналитик хочет выполнить действие «amocrm · Изменить сделку».")
    expect(card.get_by_label("Номер сделки", exact=True)).to_have_value(str(LEAD))
    price = card.get_by_label("Бюджет, в валюте CRM", exact=True)
    expect(price).to_have_value("3500000")
    expect(price).not_to_be_editable()
    card.get_by_role("button", name="Изменить", exact=True).click()
    expect(price).to_be_editable()
    price.fill("3400000")
    card.get_by_role("button", name="Разрешить с изменениями").click()
    # what the specialist has read from the CRM after the change
    expect(page.locator(".answer")).to_contain_text(f"В CRM теперь: {LEAD}, бюджет 3400000.")
    expect(page.locator(".turn")).to_contain_text("gpt-")
    expect(card).to_have_count(0)

    page.get_by_role("link", name="Путь в графе").click()
    visited = page.locator(".drawing .node.visited")
    before, since = ("context", "delegate", f"{ANALYST}:approval"), (f"{ANALYST}:tools", f"{ANALYST}:finish", "finish")
    for node in (*before, *since):
        expect(visited.and_(page.locator(f"[data-node='{node}']"))).to_have_count(1)
    expect(page.locator(".drawing .node.asked")).to_have_attribute("data-node", f"{ANALYST}:approval")
    decision = page.locator(".way .pause")
    expect(decision).to_contain_text("Решение человека")
    expect(decision).to_contain_text("Разрешено с изменениями: amocrm · Изменить сделку")
    expect(decision).to_contain_text("anna")
    # what came before it and what came after stand around it
    rows = [text.split("\n")[0] for text in page.locator(".way > *").all_inner_texts()]
    at = next(n for n, row in enumerate(rows) if "approval" not in row and n > 0 and "approval" in rows[n - 1])
    assert "delegate" in rows[:at], rows
    assert "tools" in rows[at:], rows
    assert "collect" in rows[at:], rows
    page.locator(".way button", has_text="tools").first.click()
    expect(page.locator(".drawing .node.chosen")).to_have_attribute("data-node", f"{ANALYST}:tools")
