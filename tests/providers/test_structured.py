"""JSON of models: asked for as the provider takes it, read from whatever they say, never guessed at."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage, SystemMessage

from domain.catalogue import Capabilities, Family, ModelSpec, ProviderSpec
from providers.json_schema import problems
from providers.structured import JsonOutput, JsonPrompts, is_strict, native_options, read

SCHEMA = {
    "type": "object",
    "properties": {"buyer": {"type": "string"}, "pumps": {"type": "integer"}},
    "required": ["buyer", "pumps"],
    "additionalProperties": False,
}
RIGHT = {"buyer": "Volna", "pumps": 3}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e15, 1e15) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, VALUES, min_size=1, max_size=4)


# Reading


@given(VALUES, st.booleans(), st.sampled_from([None, 2]), st.sampled_from(["", " ", "\n", "\ufeff"]))
def test_what_is_json_is_taken_as_it_is(value: Any, ascii_only: bool, indent: int | None, around: str) -> None:
    answer = read(around + json.dumps(value, ensure_ascii=ascii_only, indent=indent), None)
    assert answer.problems == []
    assert answer.value == value
    assert json.loads(answer.text) == value
    assert answer.repaired == "none"


@given(OBJECTS, st.sampled_from(["```json\n{}\n```", "Here it is:\n```\n{}\n```\nHope it helps!", "~~~\n{}\n~~~"]))
def test_a_fence_is_taken_off(value: dict[str, Any], fence: str) -> None:
    answer = read(fence.replace("{}", json.dumps(value)), None)
    assert (answer.value, answer.repaired, answer.problems) == (value, "local", [])


@given(OBJECTS, st.sampled_from(["", "Sure. ", "The answer [1] is "]), st.sampled_from(["", " Anything else?", "."]))
def test_prose_around_is_left_out(value: dict[str, Any], before: str, after: str) -> None:
    answer = read(before + json.dumps(value) + after, None)
    assert (answer.value, answer.problems) == (value, [])


@given(OBJECTS, st.data())
@settings(deadline=None)
def test_what_was_cut_off_is_never_completed(value: dict[str, Any], data: st.DataObject) -> None:
    whole = json.dumps(value)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    assert read(cut, None, complete=False).problems


@given(st.text(max_size=300) | st.text("{}[]\":,\\/*'` \n0123456789.-+eEtrufalsn", max_size=300), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_reader(text: str, complete: bool) -> None:
    answer = read(text, SCHEMA, complete=complete)
    if not answer.problems:
        assert problems(answer.value, SCHEMA) == []
        assert json.loads(answer.text) == answer.value


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_broken_json_is_mended_into_something_valid_or_refused(data: st.DataObject) -> None:
    """A character taken out, doubled or replaced: what comes out fits the schema, or there are problems."""
    text = json.dumps(RIGHT)
    at = data.draw(st.integers(0, len(text) - 1))
    text = text[:at] + data.draw(st.sampled_from(["", text[at] * 2, "'", ",", "}", "\n"])) + text[at + 1 :]
    answer = read(text, SCHEMA)
    assert answer.problems or problems(json.loads(answer.text), SCHEMA) == []


@pytest.mark.parametrize(
    "text",
    [
        "{'buyer': 'Volna', 'pumps': 3}",
        '{buyer: "Volna", pumps: 3}',
        '{"buyer": "Volna", "pumps": 3,}',
        '{"buyer": "Volna", // the company\n "pumps": 3}',
        '{"buyer": "Volna" /* who */, "pumps": 3}',
        '{"buyer": "Volna", "pumps": 3',
        '{"buyer": "Volna", "pumps": 3}}',
        'json\n{"buyer": "Volna", "pumps": 3}',
        'There is {"note": "not this"} and {"buyer": "Volna", "pumps": 3}.',
        '```json\n{"buyer": "Volna", "pumps": 3}',
    ],
)
def test_slips_of_models_are_mended(text: str) -> None:
    answer = read(text, SCHEMA)
    assert (answer.value, answer.repaired, answer.problems) == (RIGHT, "local", [])


def test_strings_are_not_touched_by_mending() -> None:
    said = 'Well: {"url": "https://a.b/*c*/", "code": "x = True, }", "ok": True,}'
    assert read(said, None).value == {"url": "https://a.b/*c*/", "code": "x = True, }", "ok": True}


@pytest.mark.parametrize("text", ["", "I don't know.", "[1]", "see [1] and [2]", "NaN", '{"a": NaN}', "{" * 5_000])
def test_what_holds_no_answer_is_none(text: str) -> None:
    assert read(text, SCHEMA).problems


@pytest.mark.parametrize("text", ["1" * 5_000, '{"n": 9223372036854775808}', "[1e999]", "[" * 200 + "]" * 200])
def test_what_cannot_be_kept_is_refused(text: str) -> None:
    assert read(text, None).problems


def test_what_is_wrong_with_the_value_is_told() -> None:
    answer = read('{"buyer": 7, "extra": 1}', SCHEMA)
    told = {problem.path: problem.problem for problem in answer.problems}
    assert told["$.buyer"] == "7 is not of type 'string'"
    assert any("'pumps' is a required property" in problem.problem for problem in answer.problems)


def test_a_long_broken_text_takes_a_bounded_time() -> None:
    rng = random.Random(7)
    broken = "{" + "".join(rng.choice('{}[]":,\\ abc1') for _ in range(200_000))
    began = time.perf_counter()
    read(broken, None)
    assert time.perf_counter() - began < 10


# Asking


def provider(family: Family, structured: bool | None) -> ProviderSpec:
    model = ModelSpec(name="m", capabilities=Capabilities(structured_output=structured))
    return ProviderSpec(
        name="p",
        family=family,
        location="cloud",
        base_url="http://localhost",
        api_key_required=False,
        default_model="m",
        models=(model,),
    )


OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
LIST = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("family", "schema", "tools", "options"),
    [
        ("openai_compatible", None, True, {"response_format": {"type": "json_object"}}),
        (
            "openai_compatible",
            SCHEMA,
            True,
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}},
        ),
        (
            "openai_compatible",
            OPEN,
            False,
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": OPEN, "strict": False}}},
        ),
        ("openai_compatible", LIST, False, None),
        ("anthropic", None, True, None),
        ("anthropic", SCHEMA, True, {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
        ("anthropic", OPEN, True, None),
        ("anthropic", LIST, True, None),
        ("ollama", SCHEMA, False, {"format": SCHEMA}),
        ("ollama", None, False, {"format": "json"}),
        ("ollama", SCHEMA, True, None),
        ("extractive", SCHEMA, False, None),
    ],
)  # fmt: skip
def test_each_provider_is_asked_in_its_own_words(
    family: Family, schema: dict[str, Any] | None, tools: bool, options: dict[str, Any] | None
) -> None:
    assert native_options(provider(family, True), "m", schema, tools=tools) == options
    for unknown in (None, False):
        assert native_options(provider(family, unknown), "m", schema, tools=tools) is None


def test_whoever_can_not_be_held_to_the_schema_is_told_it() -> None:
    output = JsonOutput(SCHEMA, JsonPrompts("Answer in JSON.", "Schema: {schema}", "Wrong: {errors}"))
    prompt = [SystemMessage("Be brief."), HumanMessage("Who?")]
    told, options = output.for_model(provider("openai_compatible", False), "m", prompt, tools=False)
    assert options == {}
    assert told[0].text.startswith("Be brief.\n\nAnswer in JSON.\nSchema: {")
    assert json.loads(told[0].text.partition("Schema: ")[2]) == SCHEMA
    told, options = output.for_model(provider("openai_compatible", True), "m", prompt, tools=False)
    assert told[0].text == "Be brief.\n\nAnswer in JSON."
    assert options["response_format"]["type"] == "json_schema"
    told, _ = output.for_model(provider("openai_compatible", False), "m", prompt[1:], tools=False)
    assert [message.type for message in told] == ["system", "human"]
    assert output.for_model(provider("extractive", None), "m", prompt, tools=False) == (prompt, {})


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (SCHEMA, True),
        (OPEN, False),
        ({**SCHEMA, "required": ["buyer"]}, False),
        ({**SCHEMA, "minProperties": 1}, False),
        ({"type": "object", "properties": {"a": LIST}, "required": ["a"], "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": OPEN}, "required": ["a"], "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"], "additionalProperties": False}, False),
    ],
)  # fmt: skip
def test_what_counts_as_strict(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) is strict
