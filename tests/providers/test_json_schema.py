"""JSON Schemas of clients: what is wrong with one is named by its path; none can cost more than a bounded time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import InvalidInput
from providers.json_schema import DRAFT, MAX_BYTES, MAX_PROBLEMS, check_schema, problems

NAMES = st.text("abcdef_", min_size=1, max_size=6)
LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer", "minimum": 0},
        {"type": ["number", "null"]},
        {"enum": ["a", "b"]},
        {"const": {"type": "no schema, data"}},
        {"type": "string", "pattern": "^a+$"},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(lambda p: {"type": "object", "properties": p}),
        inner.map(lambda one: {"type": "array", "items": one}),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: {"anyOf": many}),
        st.dictionaries(NAMES, inner, min_size=1, max_size=2).map(lambda defs: {"$defs": defs}),
    ),
    max_leaves=8,
)


def parts(schema: dict[str, Any], path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every subschema that SCHEMAS can make."""
    yield path
    for keyword in ("properties", "$defs"):
        for name, part in schema.get(keyword, {}).items():
            yield from parts(part, (*path, keyword, name))
    if "items" in schema:
        yield from parts(schema["items"], (*path, "items"))
    for number, part in enumerate(schema.get("anyOf", ())):
        yield from parts(part, (*path, "anyOf", number))


@given(SCHEMAS, st.data(), st.sampled_from([("type", "strng"), ("$ref", "https://example.com/x"), ("pattern", "(")]))
@settings(max_examples=150, deadline=None)
def test_what_is_wrong_anywhere_in_a_schema_is_named_by_its_path(
    schema: dict[str, Any], data: st.DataObject, wrong: tuple[str, str]
) -> None:
    assert check_schema(schema, "body.schema") == schema
    path = data.draw(st.sampled_from(list(parts(schema))))
    broken: Any = json.loads(json.dumps(schema))  # with no part in two places
    part = broken
    for step in path:
        part = part[step]
    part[wrong[0]] = wrong[1]
    with pytest.raises(InvalidInput) as refused:
        check_schema(broken, "body.schema")
    assert refused.value.details["field"] == ".".join(["body.schema", *map(str, path), wrong[0]])
    assert refused.value.message.startswith(refused.value.details["field"])


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ("object", "s"),
        ([], "s"),
        ({"description": "x" * MAX_BYTES}, "s"),
        ({"enum": [[[[]]] * 500]}, "s"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "s.$schema"),
        ({"required": "name"}, "s.required"),
        ({"properties": []}, "s.properties"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "s.properties.a.$ref"),
        ({"properties": {"a": {"$id": "https://example.com/"}}}, "s.properties.a.$id"),
        ({"patternProperties": {"(": {}}}, "s.patternProperties"),
        ({"pattern": "a" * 501}, "s.pattern"),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "s.unevaluatedProperties"),
        ({"$ref": "#"}, "s"),
        ({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, "s"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_schema(schema, "s")
    assert refused.value.details["field"] == field


def test_what_nests_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(60):
        schema = {"items": schema}
    with pytest.raises(InvalidInput, match="deeper than"):
        check_schema(schema, "s")


def test_data_in_a_schema_is_no_schema() -> None:
    schema = {"const": {"$ref": "https://example.com"}, "default": {"pattern": "("}, "examples": [{"$id": "x"}]}
    assert check_schema(schema, "s") == schema


def test_recursion_that_ends_is_served() -> None:
    tree = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["name"],
    }
    check_schema(tree, "s")
    assert problems({"name": "a", "children": [{"name": "b"}]}, tree) == []
    [problem] = problems({"name": "a", "children": [{"name": "b"}, {}]}, tree)
    assert problem.as_json() == {"path": "$.children[1]", "problem": "'name' is a required property"}


def test_problems_name_the_place_and_are_bounded() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    found = problems(["x"] * 100, schema)
    assert len(found) == MAX_PROBLEMS
    assert [one.path for one in found[:3]] == ["$[0]", "$[1]", "$[2]"]
    alternatives = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    [problem] = problems("x", alternatives)
    assert problem.path == "$"
    assert "integer" in problem.problem
    assert "null" in problem.problem


def test_one_additional_property_is_named() -> None:
    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": False, "patternProperties": {"^x": {}}}
    assert problems({"a": 1, "x1": 2}, schema) == []
    assert "'b'" in problems({"a": 1, "b": 2}, schema)[0].problem


def test_no_pattern_takes_longer_than_it_may() -> None:
    schema = {"type": "string", "pattern": "^(a|a)*$"}
    check_schema(schema, "s")
    began = time.perf_counter()
    with pytest.raises(InvalidInput, match="too long"):
        problems("a" * 40 + "!", schema, "s")
    assert time.perf_counter() - began < 5


def test_a_schema_that_names_its_draft_is_bounded_like_any_other() -> None:
    part = {"type": "string", "pattern": "^(a|a)*$"}
    schema = {"$schema": DRAFT, "type": "object", "properties": {"part": part, "child": {"$ref": "#"}}}
    check_schema(schema, "s")
    with pytest.raises(InvalidInput, match="too long"):
        problems({"child": {"part": "a" * 200 + "!"}}, schema, "s")
    with pytest.raises(InvalidInput, match=r"s\.properties\.a\.\$schema: is served at the root only"):
        check_schema({"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}}}, "s")


def test_references_that_multiply_come_to_an_end() -> None:
    levels = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 3} for n in range(12)}
    schema = {"$defs": {**levels, "l12": {"type": "object"}}, "$ref": "#/$defs/l0"}
    with pytest.raises(InvalidInput, match="too many steps"):
        check_schema(schema, "s")
