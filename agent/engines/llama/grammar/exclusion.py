"""oneOf: proof that what one alternative generates does not also match another.

A grammar can only say "any of these". That is "exactly one" when the alternatives exclude each other: by type, by a
const or an enum (a discriminator), by bounds, or by a property that one needs and the other never has. The proof is
sufficient, not complete: True is certain, False may only mean that it was not found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.engines.llama.grammar.schema import Nodes, Schema
from agent.engines.llama.grammar.shape import Shape, identity

MAX_PROOF_DEPTH = 4

ShapeOf = Callable[[Nodes], Shape]


def kind_of(value: Any) -> str:
    """The kind (see `shape.KINDS`) of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == int(value) else "fraction"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def admits(shape: Shape, value: Any) -> bool:
    """Whether `value` satisfies `shape`, as far as `fits` sees, and is in its enum."""
    return fits(shape, value) and (shape.enum is None or identity(value) in map(identity, shape.enum))


def fits(shape: Shape, value: Any) -> bool:
    """Whether `value` has a type, a size and a text that `shape` allows; members are not looked into."""
    if kind_of(value) not in shape.kinds:
        return False
    if isinstance(value, str):
        return _within(len(value), shape.lengths) and all(member.accepts(value) for member in shape.automata)
    if isinstance(value, list):
        return _within(len(value), shape.items)
    if isinstance(value, dict):
        return _within(len(value), shape.sizes) and all(name in value for name in shape.required)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = shape.lower, shape.upper
        return (
            (low is None or value > low[0] or (value == low[0] and not low[1]))
            and (high is None or value < high[0] or (value == high[0] and not high[1]))
            and (shape.multiple_of == 1 or value % shape.multiple_of == 0)
        )
    return True


def _within(count: int, limits: tuple[int, int | None]) -> bool:
    return limits[0] <= count and (limits[1] is None or count <= limits[1])


def excludes(schema: Schema, shape_of: ShapeOf, generated: Shape, others: Nodes, depth: int = 0) -> bool:
    """Whether nothing that is generated for `generated` satisfies all of `others`."""
    return all(_excludes(schema, shape_of, generated, shape_of(b.nodes), depth) for b in schema.branches(others))


def _excludes(schema: Schema, shape_of: ShapeOf, generated: Shape, other: Shape, depth: int) -> bool:
    schema.spend(4)
    if generated.enum is not None:
        schema.spend(len(generated.enum))
        return all(
            not admits(other, value) or (isinstance(value, dict) and _members_exclude(schema, shape_of, value, other))
            for value in generated.enum
            if kind_of(value) in generated.kinds
        )
    for kind in generated.generated_kinds:
        if kind not in other.kinds or (other.enum is not None and kind not in map(kind_of, other.enum)):
            continue
        if kind in ("integer", "fraction"):
            apart = _numbers_apart(generated, other)
        elif kind == "string":
            apart = _limits_apart(generated.lengths, other.lengths)
        elif kind == "array":
            apart = _limits_apart(generated.item_limits, other.items)
        elif kind == "object":
            apart = _objects_apart(schema, shape_of, generated, other, depth)
        else:
            apart = False
        if not apart:
            return False
    return True


def _members_exclude(schema: Schema, shape_of: ShapeOf, value: dict[str, Any], other: Shape) -> bool:
    """Whether some member of the fixed object `value` is one that `other` does not admit."""
    return any(
        all(not admits(shape_of(branch.nodes), member) for branch in schema.branches(other.property_nodes(name)))
        for name, member in value.items()
    )


def _limits_apart(first: tuple[int, int | None], second: tuple[int, int | None]) -> bool:
    return (first[1] is not None and first[1] < second[0]) or (second[1] is not None and second[1] < first[0])


def _numbers_apart(first: Shape, second: Shape) -> bool:
    for upper, lower in ((first.upper, second.lower), (second.upper, first.lower)):
        if upper is None or lower is None:
            continue
        if upper[0] < lower[0] or (upper[0] == lower[0] and (upper[1] or lower[1])):
            return True
    if second.enum is not None:
        return all(not admits(first, value) for value in second.enum)
    return False


def _objects_apart(schema: Schema, shape_of: ShapeOf, generated: Shape, other: Shape, depth: int) -> bool:
    if depth >= MAX_PROOF_DEPTH:
        return False
    if generated.extra_nodes is None and not set(other.required) <= set(generated.declared):
        return True
    for name in generated.required:
        nodes = other.property_nodes(name)
        branches = schema.branches(generated.property_nodes(name))
        if all(excludes(schema, shape_of, shape_of(branch.nodes), nodes, depth + 1) for branch in branches):
            return True
    return False
