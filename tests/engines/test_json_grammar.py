"""Which documents the grammar of a JSON Schema accepts, as llama.cpp itself judges them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from agent.engines.llama.grammar.schema import COMBINATIONS, CONSTRAINTS
from agent.engines.llama.grammar.strings import FORMATS
from agent.engines.llama.json_grammar import grammar_from_schema
from tests.engines.grammar_checker import GrammarChecker
from tests.engines.random_schema import random_schema

_FORMATS = jsonschema.FormatChecker(("date", "ipv4", "uuid"))
for _name, _read in {"time": datetime.time.fromisoformat, "date-time": datetime.datetime.fromisoformat}.items():
    _FORMATS.checks(_name, raises=ValueError)(
        lambda value, read=_read: not isinstance(value, str) or bool(str(read(value)))
    )


def _object(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or []}


_AB = _object(["a"], a={"type": "integer"}, b={"type": "boolean"}, c={"type": "null"})
_LIST = {"type": "array", "items": {"type": "boolean"}}
_TREE = {"$ref": "#/$defs/t", "$defs": {"t": _object(["v"], v={"type": "integer"}, l={"$ref": "#/$defs/t"})}}
_CARD = {"oneOf": [_object(["k"], k={"const": "a"}, n={"type": "integer"}), _object(["k"], k={"const": "b"})]}
_DICT = {"type": "object", "additionalProperties": {"type": "boolean"}}
_PAIR = {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}]}
_COLORS = {"type": "array", "uniqueItems": True, "items": {"enum": ["red", "green", 1]}}


@pytest.mark.parametrize(
    ("schema", "accepted", "rejected"),
    [
        # No constraints: any object.
        ({}, ["{}", '{"a":[1, {"b":null}],"c":-0.5e-7}'], ["[]", "1", "", "{ }", '{"a":1}\n', "{}{}", '{"a":1,}']),
        ({"title": "x", "x-y": 1}, ["{}"], ["[]"]),
        # Types.
        ({"type": "null"}, ["null"], ["nul", "0"]),
        ({"type": "boolean"}, ["true", "false"], ["True", "1"]),
        ({"type": ["string", "null"]}, ['""', "null"], ["0"]),
        (
            {"type": "integer"},
            ["0", "-1", "999999999999999", "-999999999999999"],
            ["-0", "01", "1.0", "1e3", "+1", "1000000000000000", "-"],
        ),
        (
            {"type": "number"},
            ["0", "-0.5", "1e9", "12.5E-07", "0.123456789012345"],
            ["1.", ".5", "00", "1e999", "1e", "NaN", "Infinity", "0.1234567890123456"],
        ),
        ({"type": ["integer", "string"]}, ["1", '"1"'], ["1.5"]),
        # Strings.
        (
            {"type": "string"},
            ['""', '"é日😀"', r'"\"\\\/\b\f\n\r\t"', r'"\u00e9\uD7ff\uE000"', '" "'],
            ['"', '"\n"', '"\t"', '"\x00"', '"\x1f"', '"\x7f"', r'"\x41"', r'"\ud800"', r'"\uDFFF"', r'"\u12"', "'a'"],
        ),
        (
            {"type": "string", "minLength": 2, "maxLength": 3},
            ['"ab"', '"é日😀"', r'"\n\u0041"'],
            ['"a"', '"abcd"', r'"\n"', r'"\u0041"'],
        ),
        ({"maxLength": 0}, ['""'], ['"a"', "1"]),
        ({"minLength": 150, "maxLength": 151}, [f'"{"x" * n}"' for n in (150, 151)], ['"x"', f'"{"x" * 152}"']),
        ({"pattern": "^[A-Z]{2}-\\d+$"}, ['"AB-0"', '"ZZ-123"'], ['"AB-"', '"aB-1"', '"AB-1 "']),
        ({"pattern": "b+"}, ['"b"', '"abc"', r'"bb\u0041"'], ['""', '"ac"']),
        ({"pattern": '^["\\\\\\n]$'}, [r'"\""', r'"\\"', r'"\n"'], ['"n"', r'"\u0022"']),
        ({"pattern": "^(a|bc)*$", "minLength": 2, "maxLength": 3}, ['"aa"', '"abc"'], ['"a"', '"b"', '"aaaa"']),
        ({"pattern": "^a", "allOf": [{"pattern": "z$"}]}, ['"az"', '"a.z"'], ['"a"', '"z"']),
        ({"format": "date"}, ['"2024-02-29"', '"1999-12-31"'], ['"2023-02-29"', '"2024-13-01"', '"0000-01-01"']),
        ({"format": "date"}, ['"2000-02-29"'], ['"1900-02-29"', '"2024-04-31"', '"2024-1-1"']),
        ({"format": "time"}, ['"23:59:59Z"', '"00:00:00.5+01:30"'], ['"24:00:00Z"', '"12:00:00"', '"12:60:00Z"']),
        ({"format": "date-time"}, ['"2024-02-29T12:00:00Z"'], ['"2024-02-29 12:00:00Z"', '"2024-02-29"']),
        ({"format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123e4567"']),
        ({"format": "ipv4"}, ['"0.10.199.255"'], ['"256.1.1.1"', '"01.1.1.1"', '"1.1.1"']),
        ({"format": "email", "maxLength": 254}, ['"a.b+c@x-y.org"'], ['"a@b"', '"a..b@x.org"', '"@x.org"']),
        # Numbers.
        ({"type": "integer", "minimum": -5, "maximum": 13}, ["-5", "0", "13"], ["-6", "14", "-0", "130"]),
        ({"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 11.5}, ["10", "11"], ["9", "12", "1"]),
        ({"type": "integer", "minimum": 0.5}, ["1", "999999999999999"], ["0", "-1"]),
        ({"type": "integer", "minimum": 10**40}, [f"1{'0' * 40}"], [f"{'9' * 40}"]),
        ({"type": "integer", "multipleOf": 15, "minimum": 1}, ["15", "30", "999999990"], ["0", "5", "20", "-15"]),
        ({"type": "integer", "multipleOf": 250, "maximum": 10**6}, ["0", "-250", "1000000"], ["100", "1000250"]),
        ({"type": "integer", "multipleOf": 10}, ["0", "10", "-120"], ["1", "00", "-0", "11"]),
        ({"type": "number", "multipleOf": 3, "maximum": 9}, ["3", "9", "-6"], ["12", "1.5", "4"]),
        ({"minimum": 0, "maximum": 1}, ["0", "1", "0.5", "1.0", "0.000000000000001"], ["1.1", "-0.1", "1.01", "2"]),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, ["0.1", "0.999"], ["0", "0.0", "1", "1.0"]),
        ({"type": "number", "minimum": -1.25, "maximum": 12.5}, ["-1.25", "-1.2", "12.50", "9.9"], ["-1.26", "12.51"]),
        ({"type": "number", "exclusiveMaximum": -3}, ["-3.000000000000001", "-4"], ["-3", "-3.0", "0"]),
        ({"type": "number", "minimum": 1e-20, "maximum": 2e-20}, ["0.000000000000000000015"], ["0", "0.1"]),
        ({"type": "integer", "format": "int32"}, ["2147483647", "-2147483648"], ["2147483648"]),
        # Objects: in order, optional ones left out, no others.
        (
            _AB,
            ['{"a":1}', '{"a": 1, "b": true,"c":null}', '{"a":1,"c":null}'],
            ["{}", '{"b":true,"a":1}', '{"a":1,"d":1}', '{"a":1,"a":1}', '{"a":1,}', '{"a":  1}', '{"a":1 }'],
        ),
        ({"type": "object", "properties": {}}, ["{}"], ['{"a":1}']),
        ({"required": ["z"]}, ['{"z":[]}', '{"z":1,"y":2}'], ["{}", '{"y":1}']),
        ({**_AB, "additionalProperties": False}, ['{"a":1}'], ['{"a":1,"d":1}']),
        (
            {**_AB, "additionalProperties": {"type": "integer"}},
            ['{"a":1,"d":2}', '{"a":1,"aa":2,"":3}', '{"a":1,"b":true,"\\n":4}'],
            ['{"a":1,"d":true}', '{"a":1,"b":2}', '{"a":1,"a":2}', r'{"a":1,"\u0061":2}', '{"d":1,"a":1}'],
        ),
        (_DICT, ["{}", '{"x":true, "y":false}'], ['{"x":1}']),
        ({**_DICT, "minProperties": 1, "maxProperties": 2}, ['{"x":true}'], ["{}", '{"x":true,"y":true,"z":true}']),
        ({**_AB, "minProperties": 2}, ['{"a":1,"c":null}', '{"a":1,"b":true,"c":null}'], ['{"a":1}']),
        ({**_AB, "maxProperties": 2}, ['{"a":1,"c":null}', '{"a":1}'], ['{"a":1,"b":true,"c":null}']),
        ({**_DICT, "propertyNames": {"pattern": "^[a-z]$"}}, ['{"x":true}'], ['{"X":true}', '{"xx":true}']),
        ({**_DICT, "propertyNames": {"enum": ["x", 1]}}, ["{}", '{"x":true}'], ['{"1":true}']),
        (_object(["a"], a={"type": "integer"}, b=False), ['{"a":1}'], ['{"a":1,"b":1}']),
        (_object([], **{'"\\\n\x00é😀]': {"const": 1}}), [r'{"\"\\\n\u0000é😀]":1}'], ['{"":1}']),
        # Arrays.
        (_LIST, ["[]", "[true, false,true]"], ["[1]", "[true,]", "[ ]", "[true ,true]"]),
        ({**_LIST, "minItems": 2, "maxItems": 3}, ["[true,true]"], ["[]", "[true]", "[true,true,true,true]"]),
        ({**_LIST, "maxItems": 0}, ["[]"], ["[true]"]),
        ({"type": "array"}, ["[]", '[1,"a",[{}]]'], ["{}"]),
        (_PAIR, ["[]", "[true]", "[true,null]"], ["[null]", "[true,null,1]"]),
        ({**_PAIR, "minItems": 2, "maxItems": 2}, ["[true,null]"], ["[true]", "[]"]),
        ({**_PAIR, "items": {"type": "null"}, "minItems": 3}, ["[true,null,null]"], ["[true,null]", "[true,null,1]"]),
        ({**_PAIR, "minItems": 3, "items": True}, ['[true,null,"x"]'], ["[true,null]"]),
        (_COLORS, ["[]", '["red",1]', '[1,"green", "red"]'], ['["red","red"]', "[1,1]", '["blue"]']),
        ({**_COLORS, "minItems": 1, "maxItems": 2}, ['["red"]'], ["[]", '["red","green",1]']),
        # Fixed values.
        ({"const": "a\"\\é\n"}, [r'"a\"\\é\n"'], ['"a"']),
        (
            {"const": {"a": [1, {"b": None}], "c": {}}},
            ['{"a":[1,{"b":null}],"c":{}}', '{"a": [1, {"b": null}], "c": {}}'],
            ["{}"],
        ),
        ({"enum": ["a", "ab", 1, 10, 1.5, None, True, [], {}]}, ['"ab"', "1", "10", "1.5", "null", "{}"], ["2", '"c"']),
        ({"type": "string", "enum": ["a", 1, None]}, ['"a"'], ["1", "null"]),
        ({"enum": [1, 5, 9], "minimum": 5, "const": 5.0}, ["5"], ["1", "9"]),
        # Combinations and references.
        ({"anyOf": [{"type": "null"}, {"type": "integer"}, False]}, ["null", "1"], ['"a"']),
        ({"oneOf": [{"maxLength": 3}, {"minLength": 4}], "type": "string"}, ['"abc"', '"abcd"'], ["1"]),
        ({"oneOf": [{"maximum": 3}, {"exclusiveMinimum": 3}]}, ["3", "4"], ['"a"']),
        (_CARD, ['{"k":"a","n":1}', '{"k":"b"}'], ['{"k":"b","n":1}', "{}"]),
        (
            {"allOf": [_object(["a"], a={"type": "integer"}), _object([], a={"minimum": 3}, b={"type": "null"})]},
            ['{"a":3}', '{"a":4,"b":null}'],
            ['{"a":2}', "{}"],
        ),
        ({"allOf": [{"type": "number"}, {"type": ["integer", "null"]}]}, ["1"], ["1.5", "null"]),
        (
            {**_AB, "anyOf": [{"required": ["b"]}, {"required": ["c"]}]},
            ['{"a":1,"b":true}', '{"a":1,"c":null}'],
            ['{"a":1}'],
        ),
        ({"$ref": "#/$defs/x~1y", "$defs": {"x/y": {"type": "null"}}}, ["null"], ["1"]),
        ({"$ref": "#/definitions/a%20b", "minimum": 2, "definitions": {"a b": {"type": "integer"}}}, ["2"], ["1"]),
        (_TREE, ['{"v":1}', '{"v":1,"l":{"v":2,"l":{"v":3}}}'], ['{"v":1,"l":{}}']),
        ({"type": "array", "items": {"$ref": "#"}}, ["[]", "[[],[[[]]]]"], ["[1]"]),
        (_object([], any={}, yes=True), ['{"any":[{}],"yes":"x"}'], ['{"any":}']),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)  # fmt: skip
def test_accepts_what_the_schema_allows(
    judge: GrammarChecker, schema: dict[str, Any], accepted: list[str], rejected: list[str]
) -> None:
    grammar = grammar_from_schema(schema)
    assert [text for text in accepted if not judge.accepts(grammar, text)] == []
    assert [text for text in rejected if judge.accepts(grammar, text)] == []
    for text in accepted:
        jsonschema.validate(json.loads(text), schema)


def test_documents_for_random_schemas_parse_and_validate(judge: GrammarChecker) -> None:
    random = np.random.default_rng(20240229)
    finished = 0
    for _ in range(300):
        schema = random_schema(random)
        grammar = grammar_from_schema(schema)
        text = judge.write(grammar, random, 600)
        if text is None:
            continue
        finished += 1
        assert "\n" not in text
        jsonschema.validate(json.loads(text), schema, format_checker=_FORMATS)
    assert finished >= 290


def test_any_object_is_an_object_whatever_is_written(judge: GrammarChecker) -> None:
    random = np.random.default_rng(3)
    grammar = grammar_from_schema({})
    texts = [text for _ in range(30) if (text := judge.write(grammar, random, 400)) is not None]
    assert len(texts) >= 10
    assert all(isinstance(json.loads(text), dict) for text in texts)


def test_discriminator_with_a_default_is_written_all_the_same(judge: GrammarChecker) -> None:
    """Pydantic leaves a `Literal` with a default out of `required`; without it, both alternatives would match."""
    schema = {"oneOf": [_object(k={"const": "a", "default": "a"}), _object(k={"const": "b", "default": "b"})]}
    grammar = grammar_from_schema(schema)
    assert judge.accepts(grammar, '{"k":"b"}')
    assert not judge.accepts(grammar, "{}")


def test_the_schema_is_left_as_it_was() -> None:
    schema = {"title": "x", "properties": {"a": {"$ref": "#"}}}
    before = json.dumps(schema)
    grammar_from_schema(schema)
    grammar_from_schema({})
    assert json.dumps(schema) == before


def test_every_supported_keyword_and_format_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "structured-output.md").read_text()
    missing = [word for word in (*CONSTRAINTS, *COMBINATIONS, *FORMATS) if f"`{word}`" not in text]
    assert missing == []
