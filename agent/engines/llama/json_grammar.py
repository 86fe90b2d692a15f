"""A JSON Schema as a grammar in llama.cpp's GBNF, so that whatever the model writes satisfies the schema."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agent.engines.llama.grammar import automaton, numbers, strings
from agent.engines.llama.grammar.containers import Containers, Extra, Member, written
from agent.engines.llama.grammar.exclusion import excludes, fits
from agent.engines.llama.grammar.gbnf import Alternative, Grammar, literal
from agent.engines.llama.grammar.rejection import Budget, reject, reject_at, shown
from agent.engines.llama.grammar.schema import ANNOTATIONS, Node, Nodes, Schema
from agent.engines.llama.grammar.shape import Shape, identity, shape_of

FREE_DEPTH = 8
"""Levels of lists and objects in a value that the schema says nothing about."""

MAX_UNIQUE_VALUES = 8
_ANY_OBJECT: dict[str, Any] = {"type": "object"}
_NAME = Node("a property's name", {"type": "string"})


def grammar_from_schema(schema: dict[str, Any]) -> str:
    """The GBNF of the JSON documents that satisfy `schema`, a JSON Schema of draft 2020-12; start rule `root`.

    A schema without constraints, such as `{}`, means any JSON object. Every document that the grammar accepts is valid;
    it does not accept every valid one:

    - compact JSON, with at most one space after a comma or a colon;
    - properties in the order in which they are declared, the optional ones left out at will; where `properties` are
      declared and `additionalProperties` is not, no others; likewise no items after `prefixItems` without `items`;
    - where `type` is absent, only the types that the other keywords are about;
    - free values nested at most `FREE_DEPTH` levels deep; numbers and strings as `numbers` and `strings` say.

    `docs/structured-output.md` lists the keywords. Raises `RequestError` (param `response_format`) for a schema with
    any other constraint, one that no finite document satisfies, a malformed one, and one too large or too complex.
    """
    if not isinstance(schema, dict):
        raise reject("it must be an object.")
    if all(isinstance(key, str) and (key in ANNOTATIONS or key.startswith("x-")) for key in schema):
        schema = {**schema, **_ANY_OBJECT}
    return _Writer(schema).text()


class _Writer:
    """One schema's way into a grammar. Values wait in a list for their rules, so that recursion takes no stack."""

    def __init__(self, document: dict[str, Any]) -> None:
        budget = Budget()
        self._schema = Schema(document, budget)
        self._grammar = Grammar(budget)
        self._containers = Containers(self._grammar)
        self._names: dict[Nodes, str] = {}
        self._shapes: dict[Nodes, Shape] = {}
        self._pending: list[Nodes] = []

    def text(self) -> str:
        start = self._value((self._schema.root,))
        while self._pending:
            nodes = self._pending.pop()
            self._grammar.define(self._names[nodes], self._alternatives(nodes))
        text = self._grammar.render(start)
        if text is None:
            raise reject(f"no finite JSON document satisfies it: {self._contradiction(start)}.")
        return text

    def _contradiction(self, start: str) -> str:
        """Names an impossible value that holds no other one."""
        impossible = self._grammar.impossible(start)
        paths = {name: shown(nodes[0].path) for nodes, name in self._names.items() if name in impossible}
        for name, path in reversed(paths.items()):
            if not (paths.keys() - {name}) & self._grammar.impossible(name) and not self._grammar.is_recursive(name):
                return f"the constraints at {path} leave no value"
        return f"{paths[start]} requires a value that contains itself without end"

    def _value(self, nodes: Nodes) -> str:
        """The rule of a value to which all `nodes` apply."""
        if not nodes:
            return self._containers.free(FREE_DEPTH)
        if nodes not in self._names:
            self._names[nodes] = self._grammar.reserve()
            self._pending.append(nodes)
        return self._names[nodes]

    def _shape(self, nodes: Nodes) -> Shape:
        if nodes not in self._shapes:
            self._shapes[nodes] = shape_of(self._schema, nodes)
        return self._shapes[nodes]

    def _alternatives(self, nodes: Nodes) -> list[Alternative]:
        found: list[Alternative] = []
        for branch in self._schema.branches(nodes):
            shape = self._shape(branch.nodes)
            for other in branch.excluded:
                shape = self._set_apart(shape, other)
            found += self._of_shape(shape)
        return found

    def _set_apart(self, shape: Shape, other: Node) -> Shape:
        """`shape` such that it excludes `other`: as it is, or with an optional discriminator made a required one."""
        if excludes(self._schema, self._shape, shape, (other,)):
            return shape
        if shape.generated_kinds == ["object"] and shape.enum is None:
            for name in shape.declared:
                trial = replace(shape, required=[*shape.required, name])
                if name not in shape.required and excludes(self._schema, self._shape, trial, (other,)):
                    return trial
        raise reject_at(
            other.path.rpartition("/oneOf/")[0],
            "oneOf",
            f"has alternatives that one value may match at once (one is {shown(other.path)}).",
            hint='Use "anyOf", or tell them apart by type or by a required property with a "const" of its own.',
        )

    def _of_shape(self, shape: Shape) -> list[Alternative]:
        if shape.enum is not None:
            return self._enumerated(shape, shape.enum)
        kinds = shape.generated_kinds
        if not shape.has_type and not shape.hinted_kinds:
            return [(self._containers.free(FREE_DEPTH),)]
        if "fraction" in kinds:
            kinds.remove("integer")
        rules: dict[str, Callable[[Shape], list[Alternative]]] = {
            "null": lambda _: [(literal("null"),)],
            "boolean": lambda _: [(literal("true"),), (literal("false"),)],
            "fraction": lambda _: [(numbers.number(self._grammar, shape.lower, shape.upper),)],
            "integer": self._integer,
            "string": lambda _: [(strings.string(self._grammar, shape.automata, *shape.lengths),)],
            "array": self._array,
            "object": self._object,
        }
        return [alternative for kind in kinds for alternative in rules[kind](shape)]

    def _enumerated(self, shape: Shape, values: list[Any]) -> list[Alternative]:
        self._grammar.spend(len(values) * (1 + len(shape.automata)))
        kept = [value for value in values if fits(shape, value)]
        scalars = [value for value in kept if not isinstance(value, list | dict)]
        found: list[Alternative] = [(self._grammar.choice(map(written, scalars)),)] if scalars else []
        for value in kept:
            if isinstance(value, list | dict):
                parts = shape.array_parts if isinstance(value, list) else [*shape.object_parts, *shape.names]
                if parts or (isinstance(value, list) and shape.unique):
                    raise reject_at(shape.path, "enum", "of lists or objects goes with no keyword about their members.")
                found.append(self._containers.fixed(value))
        return found

    def _integer(self, shape: Shape) -> list[Alternative]:
        try:
            return [(numbers.integer(self._grammar, shape.lower, shape.upper, shape.multiple_of),)]
        except ValueError:
            raise reject_at(
                shape.path,
                "multipleOf",
                f"is supported up to {numbers.MAX_MULTIPLE} times a power of ten, "
                f"or with bounds that hold at most {numbers.MAX_LISTED} multiples.",
            ) from None

    def _array(self, shape: Shape) -> list[Alternative]:
        limits = shape.item_limits
        size = shape.prefix_length
        if not shape.unique or (limits[1] is not None and limits[1] <= 1):
            prefix = [self._value(shape.item_nodes(index)) for index in range(size)]
            return self._containers.array(prefix, self._value(shape.item_nodes(size)), limits)
        values = None if size else self._values(shape.item_nodes(0))
        if values is None or len(values) > MAX_UNIQUE_VALUES:
            raise reject_at(
                shape.path,
                "uniqueItems",
                f"is only supported for items with an enum of at most {MAX_UNIQUE_VALUES} values.",
            )
        return self._containers.subset(values, limits)

    def _values(self, nodes: Nodes) -> list[Any] | None:
        """All values that `nodes` allow, or None when they are not enumerated."""
        found: list[Any] = []
        for branch in self._schema.branches(nodes):
            shape = self._shape(branch.nodes)
            if shape.enum is None or branch.excluded or shape.array_parts or shape.object_parts or shape.names:
                return None
            found += [value for value in shape.enum if fits(shape, value)]
        return list({identity(value): value for value in found}.values())

    def _object(self, shape: Shape) -> list[Alternative]:
        names = shape.declared
        required = set(shape.required)
        self._schema.spend(len(names) * (1 + len(shape.object_parts)))
        members = [Member(name, self._value(shape.property_nodes(name)), name in required) for name in names]
        nodes = shape.extra_nodes
        extra = None if nodes is None else Extra(self._extra_name(shape, names), self._value(nodes))
        if extra is not None and shape.sizes[0] > len(names) + 1:
            raise reject_at(
                shape.path,
                "minProperties",
                "can only count declared properties and one more: a grammar cannot tell whether two names differ.",
            )
        return self._containers.object(members, extra, shape.sizes)

    def _extra_name(self, shape: Shape, declared: list[str]) -> str:
        """The rule of the names of properties that are not declared."""
        self._grammar.spend(8 * sum(map(len, declared)))
        if not shape.names:
            return strings.string(self._grammar, [automaton.excluding(declared)] if declared else ())
        if declared:
            raise reject_at(shape.path, "propertyNames", "goes with no properties and no required.")
        return self._value((_NAME, *shape.names))
