"""Arguments of a tool call: whatever a model sends to whatever schema a server has is normalised, or refused by field."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidToolArguments
from tools.arguments import validate


def of(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


@pytest.mark.parametrize(
    ("field", "given", "normal"),
    [
        ({"type": "integer"}, " 12 ", 12),
        ({"type": "integer"}, "-3", -3),
        ({"type": "integer"}, 4.0, 4),
        ({"type": "number"}, "1.5e2", 150.0),
        ({"type": "boolean"}, "True", True),
        ({"type": "string"}, 5, "5"),
        ({"type": "array", "items": {"type": "integer"}}, "7", [7]),
        ({"type": "array", "items": True}, "[1, 2]", [1, 2]),
        ({"type": "object", "properties": {"b": {"type": "integer"}}}, '{"b": "2"}', {"b": 2}),
        (True, {"any": ["thing"]}, {"any": ["thing"]}),
        ({}, None, None),
    ],
)
def test_what_is_plainly_meant_is_mended(field: Any, given: Any, normal: Any) -> None:
    assert validate("t", of(a=field), {"a": given}).get("a") == normal


def test_null_is_left_out_where_a_field_is_optional() -> None:
    fields = of(a={"type": "string"}, b={"type": ["string", "null"]}, c=True)
    assert validate("t", fields, {"a": None, "b": None, "c": None}) == {"b": None, "c": None}


@pytest.mark.parametrize("given", ["--5", "²", "1_000", "", "9" * 5000, "nan", "inf", "1e999", [], {}])
@pytest.mark.parametrize("kind", ["integer", "number"])
def test_what_is_no_number_is_refused_by_field(kind: str, given: Any) -> None:
    with pytest.raises(InvalidToolArguments) as refused:
        validate("t", of(price={"type": kind}), {"price": given})
    assert refused.value.details["fields"] == ["price"]
    assert len(refused.value.message) < 6000


def test_fields_are_named_by_their_path() -> None:
    phones = {"type": "array", "items": {"type": "integer"}}
    with pytest.raises(InvalidToolArguments) as refused:
        validate("t", of(customer=of(phones=phones)) | {"required": ["name"]}, {"customer": {"phones": [1, "x"]}})
    assert refused.value.details["fields"] == ["arguments", "customer.phones[1]"]
    assert "customer.phones[1]: 'x' is not of type 'integer'" in refused.value.message


@pytest.mark.parametrize(
    "schema",
    [
        of(a={"$ref": "#/$defs/none"}),
        of(a={"$ref": "http://127.0.0.1:9/x"}),
        of(a={"$ref": "#/properties/a"}),
        of(a={"type": "string", "pattern": "^(a|a)*$"}),
    ],
    ids=["dangling", "outside", "circle", "pattern"],
)
def test_a_schema_that_cannot_be_checked_costs_the_call_not_the_turn(schema: dict[str, Any]) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidToolArguments, match="Try another way"):
        validate("odd__tool", schema, {"a": "a" * 200 + "!"})
    assert time.monotonic() - began < 5


SCALARS = st.sampled_from(
    [None, True, 0, -1, 2**62, 1.5, 4.0, "", "7", "-3.5", "true", "[1]", '{"a": 1}', "{", "nan", "текст"]
)
JSON = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2)
KINDS = st.sampled_from(["integer", "number", "boolean", "string", "array", "object", "null"])
FIELD = st.booleans() | st.builds(lambda kind: {"type": kind}, KINDS | st.lists(KINDS, min_size=1, max_size=3))


@given(st.dictionaries(st.sampled_from("abc"), FIELD), st.dictionaries(st.sampled_from("abc"), JSON))
def test_whatever_comes_is_taken_or_refused(fields: dict[str, Any], given: dict[str, Any]) -> None:
    try:
        taken = validate("t", of(**fields), given)
    except InvalidToolArguments:
        return
    assert validate("t", of(**fields), taken) == taken, "what was taken is taken again as it is"
