"""Columns of values as one parameter: what the database reads is what was given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.columns import Bytes, Column, Integers, Jsons, Texts
from storage.database import Database, json_bytes

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
COLUMNS = [
    (Texts, "text", TEXT),
    (Bytes, "bytea", st.binary()),
    (Integers, "int", st.integers(-(2**31), 2**31 - 1)),
    (Jsons, "jsonb", st.dictionaries(TEXT, TEXT | st.integers(-(2**53), 2**53) | st.none())),
]


@pytest.mark.parametrize(("column", "name", "values"), COLUMNS, ids=[name for _, name, _ in COLUMNS])
async def test_a_column_arrives_as_it_was(
    db: Database, column: type[Column], name: str, values: st.SearchStrategy[Any]
) -> None:
    async with db.pool.connection() as conn:

        async def arrives(given_values: list[Any]) -> None:
            sent = [json_bytes(v) if column is Jsons and v is not None else v for v in given_values]
            query = f"SELECT value FROM unnest(%s::{name}[]) WITH ORDINALITY AS t (value, n) ORDER BY n"
            rows = await (await conn.execute(query.encode(), [column(sent)])).fetchall()
            assert [row["value"] for row in rows] == given_values

        for example in _examples(values):
            await arrives(example)


def _examples(values: st.SearchStrategy[Any]) -> list[list[Any]]:
    """Lists that hypothesis would try, nulls among them."""
    found: list[list[Any]] = []

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(values | st.none(), max_size=8))
    def collect(example: list[Any]) -> None:
        found.append(example)

    collect()
    return found
