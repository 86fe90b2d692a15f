"""A JSON Schema as a tree of nodes: its size, its keywords, its references, and the alternatives it comes down to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from agent.engines.llama.grammar.rejection import Budget, reject, reject_at, reject_size, shown

MAX_DEPTH = 64
MAX_NODES = 5000
MAX_CHARACTERS = 250_000
MAX_BRANCHES = 500
MAX_NUMBER_BITS = 996
"""Just under 300 decimal digits: such a number is finite as a double, and so is the next power of ten."""

ANNOTATIONS = frozenset(
    [
        "title",
        "description",
        "default",
        "example",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "discriminator",
        "$schema",
        "$id",
        "$anchor",
        "$comment",
        "$defs",
        "definitions",
    ]
)
COMBINATIONS = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
NUMBER_KEYWORDS = frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])
STRING_KEYWORDS = frozenset(["minLength", "maxLength", "pattern"])
ARRAY_KEYWORDS = frozenset(["items", "prefixItems", "minItems", "maxItems", "uniqueItems"])
OBJECT_KEYWORDS = frozenset(
    ["properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"]
)
CONSTRAINTS = NUMBER_KEYWORDS | STRING_KEYWORDS | ARRAY_KEYWORDS | OBJECT_KEYWORDS | {"type", "enum", "const", "format"}
SUPPORTED_HINT = f"Supported are: {', '.join(sorted(CONSTRAINTS | COMBINATIONS))}."


@dataclass(frozen=True)
class Node:
    """A schema inside the document; `path` is its JSON pointer, with a leading #, and says who it is."""

    path: str
    schema: dict[str, Any] | bool = field(compare=False)

    @property
    def local(self) -> dict[str, Any]:
        """Its constraints, without those that combine other schemas."""
        return {} if isinstance(self.schema, bool) else {k: v for k, v in self.schema.items() if k in CONSTRAINTS}


Nodes = tuple[Node, ...]
"""Schemas that all apply to the same value."""


@dataclass(frozen=True)
class Branch:
    """One way to satisfy a schema: the local constraints of all `nodes`, and none of the schemas in `excluded` (the
    other alternatives of a oneOf)."""

    nodes: Nodes = ()
    excluded: Nodes = ()


class Schema:
    """The whole document. Every method raises `RequestError` for what is malformed or unsupported."""

    def __init__(self, root: dict[str, Any], budget: Budget) -> None:
        _check_size(root)
        self._budget = budget
        self.root = Node("#", root)
        self._document = root
        self._expanded: dict[str, list[Branch]] = {}

    def spend(self, steps: int) -> None:
        self._budget.spend(steps)

    def child(self, parent: Node, *tokens: str | int) -> Node:
        """The schema below `parent` at `tokens` (its keyword, then a name or an index)."""
        path = parent.path + "".join("/" + str(t).replace("~", "~0").replace("/", "~1") for t in tokens)
        found: Any = parent.schema
        for token in tokens:
            found = found[token]
        if not isinstance(found, dict | bool):
            raise reject(f"{shown(path)} is {_kind(found)}; a schema is an object, true or false.")
        return Node(path, found)

    def branches(self, nodes: Nodes) -> list[Branch]:
        """The alternatives of a value to which all `nodes` apply; none when that is contradictory in itself."""
        found = [Branch()]
        for node in nodes:
            found = self._product(found, self._expand(node, ()))
        return found

    def _expand(self, node: Node, above: tuple[str, ...]) -> list[Branch]:
        if isinstance(node.schema, bool):
            return [Branch()] if node.schema else []
        if node.path in self._expanded:
            return self._expanded[node.path]
        if node.path in above:
            raise reject(
                f"{shown(node.path)} refers back to itself without an object or an array in between.",
                hint="A recursive $ref belongs under properties or items.",
            )
        if len(above) > MAX_DEPTH:
            raise reject(f"{shown(node.path)} is reached through more than {MAX_DEPTH} references in a row.")
        check_keywords(node)
        self.spend(1)
        here = (*above, node.path)
        found = [Branch((node,))] if node.local else [Branch()]
        if "$ref" in node.schema:
            found = self._product(found, self._expand(self._resolve(node, node.schema["$ref"]), here))
        for part in self._parts(node, "allOf"):
            found = self._product(found, self._expand(part, here))
        if "anyOf" in node.schema:
            parts = self._parts(node, "anyOf")
            found = self._product(found, [b for part in parts for b in self._expand(part, here)])
        if "oneOf" in node.schema:
            parts = self._parts(node, "oneOf")
            self.spend(len(parts) ** 2)
            exclusive = []
            for part in parts:
                others = tuple(other for other in parts if other is not part)
                exclusive += [Branch(b.nodes, b.excluded + others) for b in self._expand(part, here)]
            found = self._product(found, exclusive)
        self._expanded[node.path] = found
        return found

    def _product(self, left: list[Branch], right: list[Branch]) -> list[Branch]:
        if left == [Branch()]:
            joined = list(dict.fromkeys(right))
        else:
            self.spend(len(left) * len(right))
            joined = list(
                dict.fromkeys(
                    Branch(_distinct((*a.nodes, *b.nodes)), _distinct((*a.excluded, *b.excluded)))
                    for a in left
                    for b in right
                )
            )
        if len(joined) > MAX_BRANCHES:
            raise reject_size()
        self.spend(sum(len(branch.nodes) + len(branch.excluded) for branch in joined))
        return joined

    def _parts(self, node: Node, keyword: str) -> list[Node]:
        assert isinstance(node.schema, dict)
        if keyword not in node.schema:
            return []
        if not isinstance(node.schema[keyword], list) or not node.schema[keyword]:
            raise reject_at(node.path, keyword, "must be a list of at least one schema.")
        return [self.child(node, keyword, index) for index in range(len(node.schema[keyword]))]

    def _resolve(self, node: Node, reference: Any) -> Node:
        """The schema that a `$ref` names. Nothing outside the document is ever looked up."""
        if not isinstance(reference, str):
            raise reject_at(node.path, "$ref", "must be a string.")
        if reference != "#" and not reference.startswith("#/"):
            raise reject_at(
                node.path,
                "$ref",
                f'is "{shown(reference)}"; only references into the schema itself are followed.',
                hint='Write "#", "#/$defs/NAME" or another JSON pointer, and put the definition into the schema.',
            )
        found: Any = self._document
        path = "#"
        for part in reference.split("/")[1:]:
            token = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and token in found:
                found = found[token]
            elif isinstance(found, list) and token.isascii() and token.isdigit() and len(token) < 6:
                found = found[int(token)] if int(token) < len(found) else None
            else:
                found = None
            path += "/" + token.replace("~", "~0").replace("/", "~1")
        if not isinstance(found, dict | bool):
            raise reject_at(node.path, "$ref", f'is "{shown(reference)}", and there is no schema there.')
        return Node(path, found)


def _distinct(nodes: Nodes) -> Nodes:
    return tuple(dict.fromkeys(nodes))


def check_keywords(node: Node) -> None:
    """Refuses each keyword that would have to be ignored."""
    assert isinstance(node.schema, dict)
    for keyword in node.schema:
        if keyword in CONSTRAINTS or keyword in COMBINATIONS or keyword in ANNOTATIONS or keyword.startswith("x-"):
            continue
        hint = SUPPORTED_HINT
        if keyword == "nullable":
            hint = 'Write "type": ["string", "null"], or anyOf with {"type": "null"}.'
        raise reject_at(node.path, keyword, "is not supported.", hint=hint)


def _check_size(root: dict[str, Any]) -> None:
    """Depth, number of values, and that each of them is JSON. Without recursion."""
    pending: list[tuple[Any, int]] = [(root, 1)]
    nodes = characters = 0
    while pending:
        value, depth = pending.pop()
        nodes += 1
        if nodes > MAX_NODES:
            raise reject(f"it has more than {MAX_NODES} values.")
        if depth > MAX_DEPTH:
            raise reject(f"it is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(value, dict):
            for key in value:
                characters += _check_scalar(key, is_key=True)
            pending += ((member, depth + 1) for member in value.values())
        elif isinstance(value, list):
            pending += ((member, depth + 1) for member in value)
        else:
            characters += _check_scalar(value)
        if characters > MAX_CHARACTERS:
            raise reject(f"it has more than {MAX_CHARACTERS} characters.")


def _check_scalar(value: Any, *, is_key: bool = False) -> int:
    """Returns the number of characters."""
    if isinstance(value, str):
        if not value.isascii() and any(0xD800 <= ord(c) <= 0xDFFF for c in value):
            raise reject(f'"{shown(value)}" holds a lone surrogate, which is no Unicode character.')
        return len(value)
    if is_key or not isinstance(value, int | float | None):
        raise reject(f"it holds {_kind(value)}{' as a key' if is_key else ''}, which is not JSON.")
    if isinstance(value, float) and not math.isfinite(value):
        raise reject("it holds a number that is infinite or not a number.")
    if (isinstance(value, int) and value.bit_length() > MAX_NUMBER_BITS) or (value and abs(value) > 1e299):
        raise reject("it holds a number of more than 299 digits.")
    return 0


def _kind(value: Any) -> str:
    names: Iterable[tuple[type, str]] = (
        (type(None), "null"),
        (bool, "a boolean"),
        (int, "a number"),
        (float, "a number"),
        (str, "a string"),
        (list, "a list"),
        (dict, "an object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), f"a Python {type(value).__name__}")
