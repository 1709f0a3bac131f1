"""Names of tools: what every vendor takes, no two alike, always the same."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tools.mcp.names import exposed_names

ANY = st.lists(st.text(max_size=80), max_size=30)


@given(ANY, st.from_regex(r"[a-z][a-z0-9-]{0,23}", fullmatch=True))
def test_names_fit_and_differ(tools: list[str], server: str) -> None:
    names = exposed_names(server, tools)
    assert set(names) == set(tools)
    assert len(set(names.values())) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names.values())
    assert exposed_names(server, reversed(tools)) == names, "the order does not matter"


@given(st.lists(st.sampled_from(["a b", "a_b", "a.b", "a-b", "x" * 90, "x" * 91, ""]), min_size=1))
def test_names_that_fold_to_the_same_stay_apart(tools: list[str]) -> None:
    names = exposed_names("crm", tools)
    assert len(set(names.values())) == len(set(tools))
    assert names.get("a_b", "crm__a_b") == "crm__a_b"
    assert names.get("a-b", "crm__a-b") == "crm__a-b"
