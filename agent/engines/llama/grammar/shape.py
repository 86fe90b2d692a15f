"""All the constraints on one value, joined from the schemas that apply to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from agent.engines.llama.grammar import pattern
from agent.engines.llama.grammar.automaton import Automaton
from agent.engines.llama.grammar.numbers import Bound
from agent.engines.llama.grammar.regex import PatternError
from agent.engines.llama.grammar.rejection import reject_at, shown
from agent.engines.llama.grammar.schema import (
    ARRAY_KEYWORDS,
    NUMBER_KEYWORDS,
    OBJECT_KEYWORDS,
    STRING_KEYWORDS,
    Node,
    Nodes,
    Schema,
)
from agent.engines.llama.grammar.strings import FORMATS, format_automaton

MAX_COUNT = 100_000
"""Of characters, items or properties. More than any model that fits a small board will write in one answer."""

# "number" is two kinds, so that kinds are disjoint and intersect as sets.
KINDS_OF_TYPE = {
    "null": {"null"},
    "boolean": {"boolean"},
    "integer": {"integer"},
    "number": {"integer", "fraction"},
    "string": {"string"},
    "array": {"array"},
    "object": {"object"},
}
KINDS = tuple(dict.fromkeys(kind for kinds in KINDS_OF_TYPE.values() for kind in sorted(kinds)))
_INTEGER_FORMATS = {"int32": 31, "int64": 63}
_FLOAT_FORMATS = ("float", "double")


@dataclass(frozen=True)
class ObjectPart:
    """What one node says about properties; `additional` is None when it does not say."""

    properties: dict[str, Node] | None
    additional: Node | None


@dataclass(frozen=True)
class ArrayPart:
    """What one node says about items; `items` is None when it does not say."""

    prefix: tuple[Node, ...] | None
    items: Node | None


@dataclass
class Shape:
    """The conjunction of the local constraints of some nodes. Lengths in code points, counts in items or properties."""

    path: str = "#"
    kinds: set[str] = field(default_factory=lambda: set(KINDS))
    has_type: bool = False
    hinted_kinds: set[str] = field(default_factory=set)
    enum: list[Any] | None = None
    lower: Bound | None = None
    upper: Bound | None = None
    multiple_of: int = 1
    lengths: tuple[int, int | None] = (0, None)
    automata: list[Automaton] = field(default_factory=list)
    items: tuple[int, int | None] = (0, None)
    unique: bool = False
    array_parts: list[ArrayPart] = field(default_factory=list)
    sizes: tuple[int, int | None] = (0, None)
    object_parts: list[ObjectPart] = field(default_factory=list)
    required: list[str] = field(default_factory=list)
    names: list[Node] = field(default_factory=list)

    @property
    def generated_kinds(self) -> list[str]:
        """Kinds that are generated: without `type` and `enum`, only those that the other keywords are about."""
        wanted = self.kinds
        if not self.has_type and self.enum is None and self.hinted_kinds:
            wanted = self.kinds & self.hinted_kinds
        return [kind for kind in KINDS if kind in wanted]

    @property
    def declared(self) -> list[str]:
        """Names of properties in the order in which they are written: declared ones first, then others required."""
        names = [name for part in self.object_parts for name in part.properties or ()]
        return list(dict.fromkeys(names + self.required))

    def property_nodes(self, name: str) -> Nodes:
        found = []
        for part in self.object_parts:
            if part.properties is not None and name in part.properties:
                found.append(part.properties[name])
            elif part.additional is not None:
                found.append(part.additional)
        return distinct_nodes(found)

    @property
    def extra_nodes(self) -> Nodes | None:
        """What applies to properties that are not declared; None when there shall be none.

        Where properties are declared and `additionalProperties` is not, none are generated.
        """
        given = [part.additional for part in self.object_parts if part.additional is not None]
        if not given and any(part.properties is not None for part in self.object_parts):
            return None
        return None if any(node.schema is False for node in given) else distinct_nodes(given)

    def item_nodes(self, index: int) -> Nodes:
        found = []
        for part in self.array_parts:
            if part.prefix is not None and index < len(part.prefix):
                found.append(part.prefix[index])
            elif part.items is not None:
                found.append(part.items)
        return distinct_nodes(found)

    @property
    def prefix_length(self) -> int:
        return max((len(part.prefix) for part in self.array_parts if part.prefix is not None), default=0)

    @property
    def item_limits(self) -> tuple[int, int | None]:
        """Where prefixItems stand without `items`, no items after them are generated unless minItems asks for them."""
        low, high = self.items
        length = self.prefix_length
        closed = [len(p.prefix or ()) for p in self.array_parts if p.items is not None and p.items.schema is False]
        if length and low <= length and all(part.items is None for part in self.array_parts):
            closed.append(length)
        return low, min([*closed, *([] if high is None else [high])], default=None)


def distinct_nodes(nodes: list[Node]) -> Nodes:
    return tuple(dict.fromkeys(node for node in nodes if node.schema is not True and node.schema != {}))


def shape_of(schema: Schema, nodes: Nodes) -> Shape:
    """Raises `RequestError` for a keyword with a value it cannot have, or one that is not supported."""
    shape = Shape(path=nodes[0].path if nodes else "#")
    for node in nodes:
        local = node.local
        schema.spend(8 + 2 * len(local))
        _add_types(shape, node, local)
        _add_numbers(shape, node, local)
        _add_strings(shape, node, local, schema)
        _add_arrays(shape, node, local, schema)
        _add_objects(shape, node, local, schema)
    return shape


def _add_types(shape: Shape, node: Node, local: dict[str, Any]) -> None:
    if "type" in local:
        names = local["type"] if isinstance(local["type"], list) else [local["type"]]
        if not names or not all(isinstance(name, str) and name in KINDS_OF_TYPE for name in names):
            raise reject_at(node.path, "type", f"must be one or a list of: {', '.join(KINDS_OF_TYPE)}.")
        shape.has_type = True
        shape.kinds &= set().union(*(KINDS_OF_TYPE[name] for name in names))
    if "enum" in local:
        if not isinstance(local["enum"], list) or not local["enum"]:
            raise reject_at(node.path, "enum", "must be a list of at least one value.")
        _add_enum(shape, local["enum"])
    if "const" in local:
        _add_enum(shape, [local["const"]])
    for keywords, kinds in (
        (NUMBER_KEYWORDS, {"integer", "fraction"}),
        (STRING_KEYWORDS, {"string"}),
        (ARRAY_KEYWORDS, {"array"}),
        (OBJECT_KEYWORDS, {"object"}),
    ):
        if not keywords.isdisjoint(local):
            shape.hinted_kinds |= kinds


def _add_enum(shape: Shape, values: list[Any]) -> None:
    allowed = {identity(value): value for value in values}
    if shape.enum is None:
        shape.enum = list(allowed.values())
    else:
        shape.enum = [value for value in shape.enum if identity(value) in allowed]


def identity(value: Any) -> Any:
    """Equal for what JSON Schema takes for equal: 1 is 1.0, but not true."""
    if isinstance(value, list):
        return ("list", tuple(identity(member) for member in value))
    if isinstance(value, dict):
        return ("dict", frozenset((name, identity(member)) for name, member in value.items()))
    return ("boolean" if isinstance(value, bool) else "", value)


def _add_numbers(shape: Shape, node: Node, local: dict[str, Any]) -> None:
    for keyword, excluded in (("minimum", False), ("exclusiveMinimum", True)):
        if keyword in local:
            _add_lower(shape, (_number(node, keyword, local[keyword]), excluded))
    for keyword, excluded in (("maximum", False), ("exclusiveMaximum", True)):
        if keyword in local:
            _add_upper(shape, (_number(node, keyword, local[keyword]), excluded))
    if "multipleOf" in local:
        value = _number(node, "multipleOf", local["multipleOf"])
        if value <= 0 or value != int(value):
            raise reject_at(node.path, "multipleOf", "is only supported as a positive integer.")
        shape.multiple_of = math.lcm(shape.multiple_of, int(value))
        shape.kinds -= {"fraction"}
    name = local.get("format")
    if isinstance(name, str) and name in _INTEGER_FORMATS:
        bits = _INTEGER_FORMATS[name]
        shape.hinted_kinds |= {"integer"}
        _add_lower(shape, (-(2**bits), False))
        _add_upper(shape, (2**bits - 1, False))
    elif name in _FLOAT_FORMATS:
        shape.hinted_kinds |= {"integer", "fraction"}


def _add_lower(shape: Shape, bound: Bound) -> None:
    shape.lower = bound if shape.lower is None else max(shape.lower, bound)


def _add_upper(shape: Shape, bound: Bound) -> None:
    shape.upper = bound if shape.upper is None else min(shape.upper, bound, key=lambda b: (b[0], not b[1]))


def _number(node: Node, keyword: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = "As in draft 2020-12, not as the boolean of draft 4." if isinstance(value, bool) else ""
        raise reject_at(node.path, keyword, "must be a number.", hint=hint)
    return value


def _count(node: Node, keyword: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
        raise reject_at(node.path, keyword, "must be an integer of at least 0.")
    if value > MAX_COUNT:
        raise reject_at(node.path, keyword, f"is supported up to {MAX_COUNT}.")
    return int(value)


def _limits(
    node: Node, local: dict[str, Any], limits: tuple[int, int | None], least: str, most: str
) -> tuple[int, int | None]:
    low, high = limits
    if least in local:
        low = max(low, _count(node, least, local[least]))
    if most in local:
        count = _count(node, most, local[most])
        high = count if high is None else min(high, count)
    return low, high


def _add_strings(shape: Shape, node: Node, local: dict[str, Any], schema: Schema) -> None:
    shape.lengths = _limits(node, local, shape.lengths, "minLength", "maxLength")
    if "pattern" in local:
        if not isinstance(local["pattern"], str):
            raise reject_at(node.path, "pattern", "must be a string.")
        try:
            found = pattern.from_pattern(local["pattern"])
        except PatternError as error:
            raise reject_at(
                node.path,
                "pattern",
                f'is "{shown(local["pattern"])}", which {error}.',
                hint="Supported: characters, . [...] \\d \\w \\s \\D \\W \\S, groups, |, * + ? {m,n}, ^ and $.",
            ) from None
        schema.spend(found.steps)
        shape.automata.append(found)
    if "format" in local:
        name = local["format"]
        if isinstance(name, str) and name in FORMATS:
            shape.hinted_kinds |= {"string"}
            shape.automata.append(format_automaton(name))
        elif not isinstance(name, str) or name not in (*_INTEGER_FORMATS, *_FLOAT_FORMATS):
            supported = ", ".join((*FORMATS, *_INTEGER_FORMATS, *_FLOAT_FORMATS))
            raise reject_at(node.path, "format", f'is "{shown(str(name))}".', hint=f"Supported are: {supported}.")


def _add_arrays(shape: Shape, node: Node, local: dict[str, Any], schema: Schema) -> None:
    shape.items = _limits(node, local, shape.items, "minItems", "maxItems")
    if not isinstance(local.get("uniqueItems", False), bool):
        raise reject_at(node.path, "uniqueItems", "must be true or false.")
    shape.unique = shape.unique or local.get("uniqueItems", False)
    prefix = None
    if "prefixItems" in local:
        if not isinstance(local["prefixItems"], list):
            raise reject_at(node.path, "prefixItems", "must be a list of schemas.")
        prefix = tuple(schema.child(node, "prefixItems", index) for index in range(len(local["prefixItems"])))
    if "items" in local and isinstance(local["items"], list):
        raise reject_at(node.path, "items", "is a list.", hint="Since draft 2020-12 that is called prefixItems.")
    items = schema.child(node, "items") if "items" in local else None
    if prefix is not None or items is not None:
        shape.array_parts.append(ArrayPart(prefix, items))


def _add_objects(shape: Shape, node: Node, local: dict[str, Any], schema: Schema) -> None:
    shape.sizes = _limits(node, local, shape.sizes, "minProperties", "maxProperties")
    properties = None
    if "properties" in local:
        if not isinstance(local["properties"], dict):
            raise reject_at(node.path, "properties", "must be an object of schemas.")
        properties = {name: schema.child(node, "properties", name) for name in local["properties"]}
    additional = schema.child(node, "additionalProperties") if "additionalProperties" in local else None
    if properties is not None or additional is not None:
        shape.object_parts.append(ObjectPart(properties, additional))
    if "required" in local:
        required = local["required"]
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise reject_at(node.path, "required", "must be a list of names.")
        shape.required = list(dict.fromkeys(shape.required + required))
    if "propertyNames" in local:
        shape.names.append(schema.child(node, "propertyNames"))
