"""The skills that organisations have changed or added, their versions, and what of all that is in force."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from domain.errors import Conflict, NotFound
from domain.ids import OrganizationId, UserId
from domain.skills import MAIN, MAX_SKILLS, Skill, SkillRecord, SkillSet, SkillSource
from storage.audit_log import record_change
from storage.database import Connection, Database, Row
from storage.queries import load

Q = load("skills")
KIND = "skill"
KEPT_VERSIONS = 200
"""Of a skill, beside the one in force."""
REMEMBERED = 500
"""Organisations whose skills a process remembers."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SkillVersion:
    """A definition as it was stored. Version 0 is the operator's, of which nobody is known."""

    version: int
    skill: Skill
    comment: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class _Head:
    """What is in force before a change; version 0 and last_version 0 where the organisation has stored nothing."""

    name: str
    stored: bool
    skills: int
    """How many the organisation has stored."""
    version: int
    last_version: int
    enabled: bool
    updated_by: str | None
    definition: dict[str, Any] | None


class Skills:
    """Reads and changes skills. `operators` are those every organisation has. A name the organisation doesn't know raises NotFound.

    What was read is remembered with its generation: a turn says which one it needs at least, and most need no reading.
    """

    def __init__(self, db: Database, operators: Mapping[str, Skill]) -> None:
        self._db = db
        self._operators = operators
        records = {name: SkillRecord(skill, "operator") for name, skill in operators.items()}
        self._untouched = SkillSet(0, records)
        self._known: OrderedDict[OrganizationId, SkillSet] = OrderedDict()

    async def at(self, organization_id: OrganizationId, generation: int) -> SkillSet:
        """The skills of that generation or of a later one; read only where this process doesn't know them."""
        if generation == 0:
            return self._untouched
        known = self._known.get(organization_id)
        if known is not None and known.generation >= generation:
            return known
        return await self.read(organization_id)

    async def read(self, organization_id: OrganizationId) -> SkillSet:
        """The skills as they are now."""
        rows = await self._db.fetch_all(organization_id, Q["read"], {"organization_id": organization_id})
        if not rows or rows[0]["skills_generation"] == 0:
            return self._untouched
        found = SkillSet(
            rows[0]["skills_generation"], self._overlaid({row["name"]: row for row in rows if row["name"]})
        )
        self._known[organization_id] = found
        self._known.move_to_end(organization_id)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    def likely(self, organization_id: OrganizationId) -> Mapping[str, Skill]:
        """The skills in force as far as this process knows, without asking."""
        return (self._known.get(organization_id) or self._untouched).in_force

    def known(self, organization_id: OrganizationId) -> SkillSet | None:
        """What this process remembers, which may have changed since."""
        return self._known.get(organization_id)

    async def create(
        self, organization_id: OrganizationId, skill: Skill, *, user_id: UserId, comment: str | None
    ) -> None:
        """Add a skill of the organisation's own. Raises Conflict where there is one of that name, or too many."""
        async with self._db.tenant(organization_id) as conn:
            head = await self._head(conn, organization_id, skill.name)
            if head.stored or skill.name in self._operators:
                raise Conflict(f"There is a skill '{skill.name}'; change it, or choose another name.", name=skill.name)
            await self._store(conn, organization_id, skill, head, user_id, comment)
            await _record(conn, organization_id, user_id, skill.name, "created", 1, comment=comment)

    async def update(
        self, organization_id: OrganizationId, skill: Skill, based_on: int, *, user_id: UserId, comment: str | None
    ) -> None:
        """Store a new version and put it in force. Raises Conflict where `based_on` is no longer the version in force."""
        async with self._db.tenant(organization_id) as conn:
            head = await self._existing(conn, organization_id, skill.name)
            if head.version != based_on:
                raise Conflict(
                    f"The skill was changed meanwhile: version {head.version} is in force, not {based_on}. Read it again.",
                    name=skill.name,
                    version=head.version,
                    updated_by=head.updated_by,
                )
            version = await self._store(conn, organization_id, skill, head, user_id, comment)
            await _record(
                conn, organization_id, user_id, skill.name, "updated", version, before=head.version, comment=comment
            )

    async def activate(self, organization_id: OrganizationId, name: str, version: int, *, user_id: UserId) -> None:
        """Put a stored version in force again; 0 is the operator's."""
        async with self._db.tenant(organization_id) as conn:
            head = await self._existing(conn, organization_id, name)
            if version == 0 and name not in self._operators:
                raise _no_version(name, version)
            if version > 0:
                params = {"organization_id": organization_id, "name": name, "version": version}
                if await (await conn.execute(Q["version"].encode(), params)).fetchone() is None:
                    raise _no_version(name, version)
            if version != head.version:
                await self._put(conn, organization_id, user_id, dataclasses.replace(head, version=version))
                await _record(conn, organization_id, user_id, name, "activated", version, before=head.version)

    async def set_enabled(self, organization_id: OrganizationId, name: str, *, enabled: bool, user_id: UserId) -> None:
        """Switch a skill on or off for the organisation. Raises Conflict for the supervisor's."""
        if name == MAIN and not enabled:
            raise Conflict("The supervisor can't be switched off: without it nobody takes a question.", name=name)
        async with self._db.tenant(organization_id) as conn:
            head = await self._existing(conn, organization_id, name)
            if head.enabled != enabled:
                await self._put(conn, organization_id, user_id, dataclasses.replace(head, enabled=enabled))
                action = "enabled" if enabled else "disabled"
                await _record(conn, organization_id, user_id, name, action, head.version)

    async def delete(self, organization_id: OrganizationId, name: str, *, user_id: UserId) -> None:
        """Forget an own skill, or all that the organisation has changed of the operator's. Raises Conflict where that is nothing."""
        async with self._db.tenant(organization_id) as conn:
            head = await self._existing(conn, organization_id, name)
            if not head.stored:
                raise Conflict(f"'{name}' is the operator's skill; it can be disabled, not deleted.", name=name)
            await conn.execute(Q["delete"].encode(), {"organization_id": organization_id, "name": name})
            await _record(conn, organization_id, user_id, name, "deleted", head.version, definition=head.definition)

    async def versions(self, organization_id: OrganizationId, name: str) -> list[SkillVersion]:
        """Newest first, the operator's last. What can't be read by this release is left out."""
        params = {"organization_id": organization_id, "name": name}
        rows = await self._db.fetch_all(organization_id, Q["versions"], params)
        operators = [SkillVersion(0, self._operators[name])] if name in self._operators else []
        found = [version for row in rows if (version := _version(name, row)) is not None]
        if not rows and not operators:
            raise NotFound("skill", name)
        return [*found, *operators]

    async def version(self, organization_id: OrganizationId, name: str, version: int) -> SkillVersion:
        """One of them."""
        if version == 0 and name in self._operators:
            return SkillVersion(0, self._operators[name])
        params = {"organization_id": organization_id, "name": name, "version": version}
        row = await self._db.fetch_one(organization_id, Q["version"], params) if version > 0 else None
        if row is None or (found := _version(name, row)) is None:
            raise _no_version(name, version)
        return found

    async def _head(self, conn: Connection, organization_id: OrganizationId, name: str) -> _Head:
        """What is in force, locked: from here on nobody else changes the organisation's skills."""
        params = {"organization_id": organization_id, "name": name}
        await conn.execute(Q["bump"].encode(), params)
        row = await (await conn.execute(Q["head"].encode(), params)).fetchone()
        assert row is not None, "the query has one row"
        if row["version"] is None:
            return _Head(name, False, row["skills"], 0, 0, True, None, None)
        stored = ("skills", "version", "last_version", "enabled", "updated_by", "definition")
        return _Head(name, True, *(row[key] for key in stored))

    async def _existing(self, conn: Connection, organization_id: OrganizationId, name: str) -> _Head:
        head = await self._head(conn, organization_id, name)
        if not head.stored and name not in self._operators:
            raise NotFound("skill", name)
        return head

    async def _store(
        self,
        conn: Connection,
        organization_id: OrganizationId,
        skill: Skill,
        head: _Head,
        user_id: UserId,
        comment: str | None,
    ) -> int:
        version = head.last_version + 1
        stored = dataclasses.replace(head, version=version, last_version=version)
        await self._put(conn, organization_id, user_id, stored)
        params = {
            "organization_id": organization_id,
            "name": skill.name,
            "version": version,
            "last_version": version,
            "definition": Jsonb(skill.model_dump(mode="json", exclude={"name"})),
            "comment": comment,
            "user_id": user_id,
            "kept": KEPT_VERSIONS,
        }
        await conn.execute(Q["add_version"].encode(), params)
        await conn.execute(Q["drop_old"].encode(), params)
        return version

    async def _put(self, conn: Connection, organization_id: OrganizationId, user_id: UserId, head: _Head) -> None:
        """Raises Conflict where the organisation has too many already."""
        if not head.stored and head.skills >= MAX_SKILLS:
            most = (
                f"The organisation has changed or added {MAX_SKILLS} skills, the most there may be; delete one first."
            )
            raise Conflict(most, limit=MAX_SKILLS)
        params = {
            "organization_id": organization_id,
            "name": head.name,
            "version": head.version,
            "last_version": head.last_version,
            "enabled": head.enabled,
            "user_id": user_id,
        }
        await conn.execute(Q["put_head"].encode(), params)

    def _overlaid(self, rows: Mapping[str, Row]) -> dict[str, SkillRecord]:
        """The operator's skills with the organisation's over them, then its own."""
        records = {}
        for name, skill in self._operators.items():
            row = rows.get(name)
            changed = _version(name, row) if row is not None and row["version"] else None
            records[name] = (
                SkillRecord(skill, "operator")
                if row is None
                else _record_of(row, changed.skill if changed else skill, "override" if changed else "operator")
            )
        for name, row in rows.items():
            if name not in records and row["version"] and (own := _version(name, row)) is not None:
                records[name] = _record_of(row, own.skill, "organization")
        return records


def _record_of(row: Row, skill: Skill, source: SkillSource) -> SkillRecord:
    known = ("version", "last_version", "enabled", "comment", "created_at", "created_by", "updated_at", "updated_by")
    return SkillRecord(skill, source, **{key: row[key] for key in known})


def _version(name: str, row: Row) -> SkillVersion | None:
    """None for what another release has stored and this one doesn't understand: the rest goes on without it."""
    try:
        skill = Skill.model_validate({**row["definition"], "name": name})
    except ValidationError as unreadable:
        log.error("a stored skill can't be read", skill=name, version=row["version"], problem=str(unreadable)[:500])
        return None
    return SkillVersion(row["version"], skill, *(row.get(key) for key in ("comment", "created_at", "created_by")))


def _no_version(name: str, version: int) -> NotFound:
    return NotFound("version", f"{name}/{version}")


async def _record(
    conn: Connection,
    organization_id: OrganizationId,
    user_id: UserId,
    name: str,
    action: str,
    version: int,
    **details: Any,
) -> None:
    told = {key: value for key, value in details.items() if value is not None}
    await record_change(conn, organization_id, user_id, KIND, name, action, {"version": version, **told})
