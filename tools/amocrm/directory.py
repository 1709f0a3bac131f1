"""What of an account changes seldom and every tool needs: its settings, pipelines with stages, people. Kept for a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Any, Generic, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ValidationError

from domain.errors import InvalidToolArguments, ToolProtocolError, ToolRejected
from tools.amocrm.client import AmoClient, embedded

KEEP_SECONDS = 60.0
WON, LOST = 142, 143
"""The system stages that every pipeline has."""
UNSORTED_TYPE = 1

StageKind = Literal["unsorted", "open", "won", "lost"]
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Stage(BaseModel):
    """A stage of a pipeline. `id` 142 and 143 exist in every pipeline: a stage is named by pipeline and id together."""

    id: int
    name: str
    sort: int = 0
    type: int = 0

    @property
    def kind(self) -> StageKind:
        if self.type == UNSORTED_TYPE:
            return "unsorted"
        return "won" if self.id == WON else "lost" if self.id == LOST else "open"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline with its stages in their order."""

    id: int
    name: str
    is_main: bool
    is_archive: bool
    stages: tuple[Stage, ...]

    def stage(self, status_id: int) -> Stage | None:
        return next((stage for stage in self.stages if stage.id == status_id), None)


class Person(BaseModel):
    """A user of the account."""

    id: int
    name: str
    email: str | None = None
    rights: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """`currency` is None where amoCRM doesn't tell it; `filters` whether lists can be filtered by amoCRM itself."""

    name: str
    currency: str | None
    timezone: tzinfo
    filters: bool


class _Pipeline(BaseModel):
    id: int
    name: str
    sort: int = 0
    is_main: bool = False
    is_archive: bool = False


class Directory:
    """Raises what AmoClient raises."""

    def __init__(self, client: AmoClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._settings = _Kept(self._load_settings, clock)
        self._pipelines = _Kept(self._load_pipelines, clock)
        self._people = _Kept(self._load_people, clock)
        self._names = _Kept(self._load_names, clock)

    async def settings(self) -> AccountSettings:
        return await self._settings.get()

    async def pipelines(self) -> dict[int, Pipeline]:
        """By id, in the account's order, archived ones included."""
        return await self._pipelines.get()

    async def people(self) -> dict[int, Person]:
        """By id. Raises ToolRejected where the token's user is no administrator."""
        return await self._people.get()

    async def names(self) -> dict[int, str]:
        """People's names by id; none where the token's user may not list them."""
        return await self._names.get()

    async def pipeline(self, pipeline_id: int) -> Pipeline:
        """Raises InvalidToolArguments naming the pipelines there are."""
        known = await self.pipelines()
        if pipeline_id not in known:
            there = ", ".join(f"{one.id} ({one.name})" for one in known.values())
            raise InvalidToolArguments(f"pipeline_id: there is no pipeline {pipeline_id}; there are {there or 'none'}.")
        return known[pipeline_id]

    async def _load_settings(self) -> AccountSettings:
        answer = await self._client.get("account", {"with": "datetime_settings,is_api_filter_enabled"}) or {}
        inside = answer.get("_embedded")
        times = inside.get("datetime_settings", {}) if isinstance(inside, dict) else {}
        return AccountSettings(
            name=str(answer.get("name") or ""),
            currency=answer.get("currency") or None,
            timezone=_timezone(times.get("timezone"), times.get("timezone_offset")),
            filters=answer.get("is_api_filter_enabled") is True,
        )

    async def _load_pipelines(self) -> dict[int, Pipeline]:
        answer = await self._client.get("leads/pipelines")
        rows = embedded(answer, "pipelines") if answer is not None else []
        found = []
        for row in rows:
            head = parse(_Pipeline, row)
            stages = sorted((parse(Stage, one) for one in embedded(row, "statuses")), key=lambda stage: stage.sort)
            found.append((head.sort, Pipeline(head.id, head.name, head.is_main, head.is_archive, tuple(stages))))
        return {pipeline.id: pipeline for _, pipeline in sorted(found, key=lambda one: (one[0], one[1].id))}

    async def _load_people(self) -> dict[int, Person]:
        people: dict[int, Person] = {}
        async for page in self._client.pages("users", "users"):
            people |= {person.id: person for person in (parse(Person, row) for row in page)}
        return people

    async def _load_names(self) -> dict[int, str]:
        """The refusal is kept as well: an account that is asked in vain again and again gets blocked."""
        try:
            return {person.id: person.name for person in (await self.people()).values()}
        except ToolRejected as refused:
            if refused.details.get("http_status") != 403:
                raise
            return {}


class _Kept(Generic[T]):
    """A value that is loaded when it is asked for and older than KEEP_SECONDS, once for all who ask at the same time."""

    def __init__(self, load: Callable[[], Awaitable[T]], clock: Callable[[], float]) -> None:
        self._load = load
        self._clock = clock
        self._value: T | None = None
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def get(self) -> T:
        async with self._turn:
            if self._value is None or self._clock() >= self._until:
                self._value = await self._load()
                self._until = self._clock() + KEEP_SECONDS
            return self._value


def parse(model: type[M], row: Any) -> M:
    """An entity of amoCRM's. Raises ToolProtocolError naming the fields that are not as its API says."""
    try:
        return model.model_validate(row)
    except ValidationError as wrong:
        fields = ", ".join(".".join(map(str, error["loc"])) for error in wrong.errors()[:5])
        raise ToolProtocolError(
            f"amoCRM answered with a {model.__name__.strip('_').lower()} without proper {fields}."
        ) from None


def _timezone(name: Any, offset: Any) -> tzinfo:
    """By name where this machine knows it, else by the offset of now, else UTC."""
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    sign, hours, minutes = str(offset)[:1], str(offset)[1:3], str(offset)[4:6]
    if sign in ("+", "-") and hours.isdigit() and minutes.isdigit():
        return timezone((-1 if sign == "-" else 1) * timedelta(hours=int(hours), minutes=int(minutes)))
    return UTC
