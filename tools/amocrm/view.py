"""How entities are shown to a model: ids with the names they stand for, times in the account's zone, fields by their names."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from tools.amocrm.directory import Pipeline
from tools.amocrm.period import shown
from tools.amocrm.tool import Crm


@dataclass(frozen=True, slots=True)
class View:
    """What names are taken from. `people` is empty where the token's user may not list them."""

    base_url: str | None
    currency: str | None
    zone: tzinfo
    pipelines: dict[int, Pipeline]
    people: dict[int, str]

    def time(self, seconds: int | None) -> str | None:
        """None where there is none; amoCRM writes 0 for that, too."""
        return shown(seconds or None, self.zone)

    def person(self, user_id: int | None) -> str | None:
        return None if user_id is None else self.people.get(user_id)

    def url(self, entity: str, entity_id: int) -> str | None:
        """Of its card in amoCRM."""
        return None if self.base_url is None else f"{self.base_url}/{entity}/detail/{entity_id}"


async def view(crm: Crm) -> View:
    settings, pipelines, people = await asyncio.gather(
        crm.directory.settings(), crm.directory.pipelines(), crm.directory.names()
    )
    return View(crm.base_url, settings.currency, settings.timezone, pipelines, people)


def fields(values: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Custom fields by name: a value, or a list of them where there are several."""
    found: dict[str, Any] = {}
    for one in values or []:
        inside = [value.get("value") for value in one.get("values") or [] if isinstance(value, dict)]
        if inside:
            found[str(one.get("field_name") or one.get("field_code") or one.get("field_id"))] = (
                inside[0] if len(inside) == 1 else inside
            )
    return found


def linked(embedded: dict[str, Any], key: str) -> list[int]:
    """Ids of what is linked to an entity."""
    return [one["id"] for one in embedded.get(key) or [] if isinstance(one, dict) and isinstance(one.get("id"), int)]


def known(shown: dict[str, Any]) -> dict[str, Any]:
    """Without what is None or empty."""
    return {key: value for key, value in shown.items() if value is not None and value != [] and value != {}}
