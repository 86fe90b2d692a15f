"""JSON arrays and objects as grammar rules, given the rules of what they hold; and values about which nothing is said.

Compact: one optional space after a comma or a colon, no other white space.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agent.engines.llama.grammar import numbers, strings
from agent.engines.llama.grammar.gbnf import EMPTY, Alternative, Grammar, literal

Limits = tuple[int, int | None]


@dataclass(frozen=True)
class Member:
    """A declared property; `value` is a rule."""

    name: str
    value: str
    required: bool


@dataclass(frozen=True)
class Extra:
    """The rules of the names and of the values of properties that are not declared."""

    name: str
    value: str


def written(value: Any) -> str:
    """JSON as the grammar has it, without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Containers:
    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._space = grammar.rule(EMPTY, (literal(" "),))
        self._comma: Alternative = (literal(","), self._space)
        self._free: list[str] = []

    def fixed(self, value: Any) -> Alternative:
        """Exactly `value`. Recursive: the schema's depth is limited."""
        if isinstance(value, dict) and value:
            members = [(literal(written(name) + ":"), self._space, *self.fixed(v)) for name, v in value.items()]
        elif isinstance(value, list) and value:
            members = [self.fixed(member) for member in value]
        else:
            return (literal(written(value)),)
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        joined = list(members[0])
        for member in members[1:]:
            joined += [*self._comma, *member]
        return (literal(opening), *joined, literal(closing))

    def array(self, prefix: Sequence[str], item: str, limits: Limits) -> list[Alternative]:
        """Lists that start with values of the rules `prefix`, then `item` as often as `limits` of the length allow."""
        low, high = limits
        if high is not None and high < low:
            return []
        size = len(prefix) if high is None else min(len(prefix), high)
        following = (*self._comma, item)
        if high is None or high > size:
            unit = self._grammar.rule(following)
            least, most = max(0, low - size), None if high is None else high - size
            if size == 0:
                more = (item, *self._grammar.repeat(unit, max(0, least - 1), None if most is None else most - 1))
                full = [(literal("["), *more, literal("]"))]
                return full if low else [(literal("[]"),), *full]
            rest = self._grammar.rule((*self._grammar.repeat(unit, least, most), literal("]")))
        else:
            rest = self._grammar.rule((literal("]"),))
        for index in range(size - 1, 0, -1):
            longer = (*self._comma, prefix[index], rest)
            rest = self._grammar.rule(longer, (literal("]"),)) if index >= low else self._grammar.rule(longer)
        full = [(literal("["), prefix[0], rest)] if size else [(literal("[]"),)]
        return full if low or not size else [(literal("[]"),), *full]

    def subset(self, values: Iterable[Any], limits: Limits) -> list[Alternative]:
        """Lists of `values`, each at most once: a rule for every subset of those still to come."""
        choices = [(bit, self.fixed(value)) for bit, value in enumerate(values)]
        low, high = limits
        names = {used: self._grammar.reserve() for used in range(1 << len(choices))}
        for used, name in names.items():
            count = used.bit_count()
            alternatives: list[Alternative] = [(literal("]"),)] if count >= low else []
            if high is None or count < high:
                separator = self._comma if used else EMPTY
                for bit, value in choices:
                    if not used >> bit & 1:
                        alternatives.append((*separator, *value, names[used | 1 << bit]))
            self._grammar.define(name, alternatives)
        return [(literal("["), names[0])]

    def object(self, members: Sequence[Member], extra: Extra | None, limits: Limits) -> list[Alternative]:
        """Objects of `members` in their order, those not required left out at will, then any number of `extra`.

        The names of extras must differ from those of `members`. Two extras may have the same name, and then count as
        one: towards the least number all extras count as one, towards the greatest each.
        """
        start = _ObjectRules(self._grammar, members, extra, limits, self._comma, self._space).start()
        return [(literal("{"), start)]

    def free(self, depth: int) -> str:
        """Any value nested at most `depth` levels."""
        if not self._free:
            scalars = self._grammar.rule(
                (self.free_string(),),
                (numbers.number(self._grammar, None, None),),
                *((literal(name),) for name in ("true", "false", "null")),
            )
            self._free.append(scalars)
        while len(self._free) <= depth:
            inner = self._free[-1]
            extra = Extra(self.free_string(), inner)
            containers = [*self.array((), inner, (0, None)), *self.object((), extra, (0, None))]
            self._free.append(self._grammar.rule((self._free[0],), *containers))
        return self._free[depth]

    def free_string(self) -> str:
        return strings.string(self._grammar, ())


class _ObjectRules:
    """Rules for (index of the next member, number towards the least, number towards the greatest).

    The index is one past the last member before the first extra, two past it afterwards. `next` writes one more
    property, `rest` follows a property: a comma and `next`, or the end.
    """

    def __init__(
        self,
        grammar: Grammar,
        members: Sequence[Member],
        extra: Extra | None,
        limits: Limits,
        comma: Alternative,
        space: str,
    ) -> None:
        self._grammar = grammar
        self._members = members
        self._extra = extra
        self._low, self._high = limits
        self._comma = comma
        self._space = space
        self._required_before = max((i + 1 for i, member in enumerate(members) if member.required), default=0)
        self._names: dict[tuple[str, int, int, int], str] = {}
        self._pending: list[tuple[str, int, int, int]] = []

    def start(self) -> str:
        """The rule of everything after the opening brace."""
        first = self._name("next", 0, 0, 0)
        start = self._grammar.rule(*self._end(0, 0), (first,))
        while self._pending:
            key = self._pending.pop()
            alternatives = self._next(*key[1:]) if key[0] == "next" else self._rest(*key[1:])
            self._grammar.define(self._names[key], alternatives)
        return start

    def _name(self, what: str, index: int, low: int, high: int) -> str:
        key = (what, index, min(low, self._low), 0 if self._high is None else high)
        if key not in self._names:
            self._names[key] = self._grammar.reserve()
            self._pending.append(key)
        return self._names[key]

    def _end(self, index: int, low: int) -> list[Alternative]:
        return [(literal("}"),)] if index >= self._required_before and low >= self._low else []

    def _rest(self, index: int, low: int, high: int) -> list[Alternative]:
        return [*self._end(index, low), (*self._comma, self._name("next", index, low, high))]

    def _next(self, index: int, low: int, high: int) -> list[Alternative]:
        if self._high is not None and high >= self._high:
            return []
        if index < len(self._members):
            member = self._members[index]
            key = literal(written(member.name) + ":")
            rest = self._name("rest", index + 1, low + 1, high + 1)
            found: list[Alternative] = [(key, self._space, member.value, rest)]
            if not member.required:
                found.append((self._name("next", index + 1, low, high),))
            return found
        if self._extra is None:
            return []
        counted = low + 1 if index == len(self._members) else low
        rest = self._name("rest", len(self._members) + 1, counted, high + 1)
        return [(self._extra.name, literal(":"), self._space, self._extra.value, rest)]
