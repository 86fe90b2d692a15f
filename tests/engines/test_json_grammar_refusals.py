"""Which schemas cannot become a grammar: they fail with an error that says where and why, and at once."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest

from agent.engines.llama.grammar.schema import MAX_DEPTH, MAX_NODES
from agent.engines.llama.grammar.shape import MAX_COUNT
from agent.engines.llama.json_grammar import grammar_from_schema
from agent.errors import RequestError
from tests.engines.grammar_checker import GrammarChecker


def _object(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or []}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"not": {}}, '"not" at # is not supported. Supported are: $ref, additionalProperties'),
        ({"properties": {"a": {"items": {"contains": {}}}}}, '"contains" at #/properties/a/items is not'),
        ({"patternProperties": {}}, '"patternProperties"'),
        ({"if": {}, "then": {}}, '"if"'),
        ({"minlength": 3}, '"minlength"'),
        ({"type": "string", "nullable": True}, '["string", "null"]'),
        ({"type": "text"}, "must be one or a list of: null"),
        ({"type": []}, '"type"'),
        ({"type": [["string"]]}, '"type"'),
        ({"format": "uri"}, "Supported are: date, time"),
        ({"format": ["date"]}, '"format"'),
        ({"pattern": "(?=a)"}, "lookaround"),
        ({"pattern": "a(b"}, '"pattern" at #'),
        ({"pattern": "\\bword"}, 'has the escape "'),
        ({"pattern": "\\1"}, '"pattern" at #'),
        ({"pattern": "[]"}, "empty class"),
        ({"pattern": "a{2"}, "\\{"),
        ({"pattern": "*a"}, "nothing to repeat"),
        ({"pattern": 3}, "must be a string"),
        ({"minLength": -1}, '"minLength" at # must be an integer'),
        ({"maxItems": True}, '"maxItems"'),
        ({"maxItems": "3"}, '"maxItems"'),
        ({"minimum": "3"}, '"minimum" at # must be a number'),
        ({"exclusiveMinimum": True}, "draft 2020-12"),
        ({"multipleOf": 0.1}, '"multipleOf"'),
        ({"multipleOf": 0}, '"multipleOf"'),
        ({"multipleOf": 101}, '"multipleOf" at # is supported up to 64'),
        ({"uniqueItems": True}, '"uniqueItems" at # is only supported'),
        ({"items": [{}]}, "prefixItems"),
        ({"items": 3}, "#/items is a number"),
        ({"properties": []}, '"properties"'),
        ({"properties": {"a": "string"}}, "#/properties/a is a string"),
        ({"required": "a"}, '"required"'),
        ({"enum": []}, '"enum"'),
        ({"anyOf": []}, '"anyOf"'),
        ({"anyOf": {}}, '"anyOf"'),
        ({"minProperties": 2}, '"minProperties"'),
        ({"enum": [[1]], "items": {}}, '"enum"'),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, '"oneOf" at # has alternatives'),
        ({"oneOf": [_object(a={}), _object(b={})]}, 'Use "anyOf"'),
        ({"oneOf": [{"pattern": "a"}, {"pattern": "b"}], "type": "string"}, '"oneOf"'),
        ({"$ref": "https://example.com/s.json"}, "only references into the schema"),
        ({"$ref": "other.json#/a"}, "only references into the schema"),
        ({"$ref": "#anchor"}, "only references into the schema"),
        ({"$ref": "#/$defs/none"}, "there is no schema there"),
        ({"$ref": 3}, '"$ref" at # must be a string'),
        ({"$ref": "#"}, "refers back to itself"),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "refers back to itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "back to itself"),
        (_object(["a"], a={"$ref": "#"}), "contains itself without end"),
        ({"items": {"$ref": "#"}, "minItems": 1}, "contains itself without end"),
        (_object(["a"], a={"minimum": 3, "maximum": 2}), "#/properties/a leave no value"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "no value"),
        ({"enum": ["a"], "minLength": 2}, "no value"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "no value"),
        ({"pattern": "^$", "minLength": 1}, "no value"),
        ({"anyOf": [False]}, "no value"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)  # fmt: skip
def test_refuses_what_it_would_have_to_ignore_and_says_where(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        grammar_from_schema(schema)
    assert words in str(caught.value)
    assert caught.value.param == "response_format"
    assert caught.value.status == 400


def _nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def _chain(count: int, link: Any) -> dict[str, Any]:
    return {"$ref": "#/$defs/0", "$defs": {str(i): link(i) for i in range(count)} | {str(count): {"type": "null"}}}


ENDLESS_S = 5.0
"""Of computing. Each takes well under 0.1 s; what grows without bound would take minutes."""
_HOSTILE: dict[str, Any] = {
    "deep": _nested(MAX_DEPTH),
    "very deep": _nested(5_000),
    "wide": _object(**{f"p{i}": True for i in range(MAX_NODES)}),
    "many optional properties": _object(**{f"p{i}": {"type": "string"} for i in range(2_000)}),
    "many required names": {"allOf": [{"required": [f"{i}-{j}" for j in range(200)]} for i in range(20)]},
    "long names and extras": {"properties": {f"{i}" * 9: {} for i in range(900)}, "additionalProperties": True},
    "a large enum": {"enum": list(range(4_900))},
    "an enum of prefixes": {"enum": ["a" * i for i in range(600)]},
    "a huge constant": {"const": "é" * 1_000_000},
    "a huge length": {"maxLength": 10**9},
    "the longest length": {"minLength": MAX_COUNT - 1, "maxLength": MAX_COUNT},
    "huge lists": {"maxItems": MAX_COUNT, "items": {"maxItems": MAX_COUNT}},
    "a long tuple": {"prefixItems": [{"type": "integer", "minimum": i} for i in range(1_000)]},
    "many sizes": {"maxProperties": 90_000},
    "many sizes of many": {"maxProperties": 500, "properties": {f"p{i}": {} for i in range(500)}},
    "references in a row": _chain(1_000, lambda i: {"$ref": f"#/$defs/{i + 1}"}),
    "references downwards": _chain(1_000, lambda i: _object(x={"$ref": f"#/$defs/{i + 1}"})),
    "exponential alternatives": _chain(30, lambda i: {"anyOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2}),
    "exponential conjunctions": {"allOf": [{"anyOf": [{"minimum": i}, {"maximum": i}]} for i in range(30)]},
    "conjunctions below": {"allOf": [_object(p={"anyOf": [{"minLength": i}, {"minimum": i}]}) for i in range(30)]},
    "a large oneOf": {"oneOf": [_object(["k"], k={"const": i}) for i in range(1_000)]},
    "a oneOf that is hard to prove": {"oneOf": [_object(**{f"p{j}": {} for j in range(9)}) for i in range(60)]},
    "exponential subsets": {"pattern": "(a|b)*a" + "(a|b)" * 20},
    "nested repetitions": {"pattern": "(((a{100}){100}){100})"},
    "nested empty repetitions": {"pattern": "((((){1000}){1000}){1000})"},
    "nested groups": {"pattern": "(" * 1_900},
    "nested stars": {"pattern": "((((a*)*)*)*b*)*$"},
    "a long pattern": {"pattern": "a" * 100_000},
    "many patterns": {"properties": {f"p{i}": {"pattern": f"^[a-z]{{1,{300 + i}}}$"} for i in range(500)}},
    "many patterns at once": {"allOf": [{"pattern": f"^([a-z]{i}?)*$"} for i in range(50)]},
    "a pattern with lengths": {"pattern": "^(abc|de)*$", "maxLength": 50_000},
    "a huge integer": {"minimum": 10**5000},
    "a long integer": {"type": "integer", "minimum": -(10**298), "maximum": 10**298 + 1},
    "a long number": {"minimum": -(10**298), "maximum": 10**298 + 1},
    "a huge multiple": {"allOf": [{"multipleOf": 10**290 + i} for i in (1, 3, 7)]},
    "the largest multiple": {"type": "integer", "multipleOf": 63},
    "infinity": {"minimum": math.inf},
    "not a number": {"const": math.nan},
    "a lone surrogate as a value": {"const": "\ud800"},
    "a lone surrogate as a name": {"properties": {"\udfff": {}}},
    "a lone surrogate as a keyword": {"\udfff": {}},
    "a long unknown keyword": {"\x00\n" * 10_000: {}},
    "grammar in a name": _object(**{'" | [a] \n root ::= "x': {"const": '"\n]\\'}}),
    "not JSON": {"const": (1, 2)},
    "not even text": {1: 2},
    "a list": [],
}  # fmt: skip


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_schemas_end_soon_and_fail_clearly_if_they_fail(judge: GrammarChecker, name: str) -> None:
    grammar = error = None
    began_s = time.process_time()
    try:
        grammar = grammar_from_schema(_HOSTILE[name])
    except RequestError as refused:
        error = refused
    assert time.process_time() - began_s < ENDLESS_S
    if error is not None:
        assert len(str(error)) < 800
        str(error).encode()
    elif grammar is not None:
        judge.start(grammar)
