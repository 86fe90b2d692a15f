"""A grammar under construction, and its text in llama.cpp's GBNF notation.

Only a small part of GBNF is used: alternatives of terminals and rule names, no groups and no `* + ? {m,n}`. That keeps
the number of rules in our hands (llama.cpp expands `{m,n}` to n rules and refuses more than 2,000:
MAX_REPETITION_THRESHOLD in src/llama-grammar.cpp), and makes the checks below exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby

from agent.engines.llama.grammar.rejection import Budget, reject_size

Alternative = tuple[str, ...]
"""Symbols in a row: a terminal starts with a quote or a bracket, a rule name with a letter."""

Ranges = tuple[tuple[int, int], ...]
"""Code points: sorted, disjoint, both ends included."""

MAX_TEXT_CHARACTERS = 400_000
EMPTY: Alternative = ()
_INLINE_COUNT = 8
_CHAIN_COUNT = 64


def literal(text: str) -> str:
    """A terminal that matches exactly `text`, which must not be empty."""
    if text.isascii() and text.isprintable():
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    else:
        escaped = "".join(_escaped(ord(c), safe=c != '"' and c != "\\") for c in text)
    return f'"{escaped}"'


@lru_cache(maxsize=512)
def char_class(ranges: Ranges) -> str:
    """A terminal that matches one code point of `ranges`, which must not be empty."""
    parts = []
    for low, high in ranges:
        first, last = (_escaped(c, safe=chr(c).isalnum()) for c in (low, high))
        parts.append(first if low == high else f"{first}-{last}")
    return "[" + "".join(parts) + "]"


def _escaped(code_point: int, *, safe: bool) -> str:
    if safe and 0x20 <= code_point < 0x7F:
        return chr(code_point)
    if code_point <= 0xFF:
        return f"\\x{code_point:02X}"
    return f"\\u{code_point:04X}" if code_point <= 0xFFFF else f"\\U{code_point:08X}"


def is_rule(symbol: str) -> bool:
    return symbol[0] not in '"['


class Grammar:
    """Rules by name. A rule without alternatives matches nothing; `render` removes it and all that needs it.

    Whatever adds rules raises `RequestError` when the grammar grows past `MAX_TEXT_CHARACTERS`.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._rules: dict[str, list[Alternative]] = {}
        self._names: dict[tuple[Alternative, ...], str] = {}
        self._repeats: dict[tuple[str, str, int], str] = {}
        self._reserved = 0
        self._characters = 0

    def spend(self, steps: int) -> None:
        self._budget.spend(steps)

    def reserve(self) -> str:
        """A name for a rule that is defined later, so that rules can be recursive."""
        self._reserved += 1
        return f"r{self._reserved}"

    def define(self, name: str, alternatives: Iterable[Alternative]) -> None:
        kept = list(dict.fromkeys(alternatives))
        self.spend(4 + 2 * len(kept))
        self._characters += 8 + sum(3 + len(symbol) for alternative in kept for symbol in alternative)
        if self._characters > MAX_TEXT_CHARACTERS:
            raise reject_size()
        self._rules[name] = kept

    def rule(self, *alternatives: Alternative) -> str:
        """The name of a rule with these alternatives; the same name for the same ones."""
        name = self._names.get(alternatives)
        if name is None:
            name = self._names[alternatives] = self.reserve()
            self.define(name, alternatives)
        return name

    def choice(self, texts: Iterable[str]) -> str:
        """A rule that matches any of `texts`, none of them empty.

        Built as a prefix tree: llama.cpp checks each token against every alternative that is still open.
        """
        root = self.reserve()
        pending: list[tuple[str, list[str], int]] = [(root, sorted(set(texts)), 0)]
        while pending:
            name, rest, size = pending.pop()
            alternatives: list[Alternative] = [EMPTY] if rest and len(rest[0]) == size else []
            self.spend(len(rest))
            for _, members in groupby(rest[len(alternatives) :], key=lambda text: text[size]):
                group = list(members)
                first, last = group[0], group[-1]
                if len(group) == 1:
                    alternatives.append((literal(first[size:]),))
                    continue
                # Sorted: the common prefix of all is that of the first and the last.
                common = size + 1
                while common < len(first) and first[common] == last[common]:
                    common += 1
                tail = self.reserve()
                pending.append((tail, group, common))
                alternatives.append((literal(first[size:common]), tail))
            self.define(name, alternatives)
        return root

    def repeat(self, unit: str, low: int, high: int | None) -> Alternative:
        """Symbols that match `unit` (a terminal, or a rule that is never empty) from `low` to `high` times.

        Takes in the order of log(low) + sqrt(high) rules, and leaves llama.cpp at most four open alternatives.
        """
        if high is not None and high < low:
            raise ValueError(f"{low} to {high} repetitions")
        exact = (unit,) * low if low <= _INLINE_COUNT else (self._exactly(unit, low),)
        if high is None:
            return (*exact, self._any_number(unit))
        return (*exact, self._up_to(unit, high - low)) if high > low else exact

    def _any_number(self, unit: str) -> str:
        key = ("*", unit, 0)
        if key not in self._repeats:
            name = self._repeats[key] = self.reserve()
            self.define(name, [EMPTY, (unit, name)])
        return self._repeats[key]

    def _exactly(self, unit: str, count: int) -> str:
        """By doubling: 2k is k twice."""
        key = ("=", unit, count)
        if key not in self._repeats:
            if count <= _INLINE_COUNT:
                body: Alternative = (unit,) * count
            else:
                half = self._exactly(unit, count // 2)
                body = (half, half, unit) if count % 2 else (half, half)
            self._repeats[key] = self.rule(body)
        return self._repeats[key]

    def _up_to(self, unit: str, count: int) -> str:
        """0 to `count`: a chain of optional units, or, when long, of optional blocks of units.

        With blocks of B, "q blocks and r units left" is: a block and q-1 left, or fewer than B units and the end.
        Each length has exactly one derivation.
        """
        key = ("<", unit, count)
        if key in self._repeats:
            return self._repeats[key]
        if count <= _CHAIN_COUNT:
            name = self.rule(EMPTY, (unit,))
            for size in range(2, count + 1):
                name = self.rule(EMPTY, (unit, name))
                self._repeats[("<", unit, size)] = name
        else:
            block_size = math.isqrt(count)
            blocks, units = divmod(count, block_size)
            block, short = self._exactly(unit, block_size), self._up_to(unit, block_size - 1)
            name = self._up_to(unit, units) if units else self.rule(EMPTY)
            for _ in range(blocks):
                name = self.rule((short,), (block, name))
        self._repeats[key] = name
        return name

    def render(self, start: str) -> str | None:
        """The grammar's text, its start rule named `root`; None when `start` can match no finite text."""
        reachable = self._reachable(start)
        productive = self._productive(reachable)
        if start not in productive:
            return None
        lines = [f"root ::= {start}"]
        for name in reachable:
            if name not in productive:
                continue
            alternatives = [
                alternative
                for alternative in self._rules[name]
                if all(symbol in productive for symbol in alternative if is_rule(symbol))
            ]
            lines.append(f"{name} ::= " + " | ".join(" ".join(a) if a else '""' for a in alternatives))
        return "\n".join(lines) + "\n"

    def impossible(self, start: str) -> set[str]:
        """The rules below `start`, itself included, that can match no finite text."""
        reachable = self._reachable(start)
        return set(reachable) - self._productive(reachable)

    def is_recursive(self, name: str) -> bool:
        """Whether the rule is among those that it is made of."""
        return any(
            symbol == name or name in self._reachable(symbol)
            for alternative in self._rules[name]
            for symbol in alternative
            if is_rule(symbol)
        )

    def _reachable(self, start: str) -> Sequence[str]:
        seen = {start: None}
        pending = [start]
        while pending:
            for alternative in self._rules[pending.pop()]:
                for symbol in alternative:
                    if is_rule(symbol) and symbol not in seen:
                        seen[symbol] = None
                        pending.append(symbol)
        return list(seen)

    def _productive(self, names: Sequence[str]) -> set[str]:
        """Rules that derive some finite text: those with an alternative all of whose rules do."""
        waiting: dict[str, list[list[str | int]]] = {}
        productive: set[str] = set()
        pending: list[str] = []
        for name in names:
            for alternative in self._rules[name]:
                needed = {symbol for symbol in alternative if is_rule(symbol)}
                if not needed:
                    pending.append(name)
                    continue
                counter: list[str | int] = [name, len(needed)]
                for symbol in needed:
                    waiting.setdefault(symbol, []).append(counter)
        while pending:
            name = pending.pop()
            if name in productive:
                continue
            productive.add(name)
            for counter in waiting.get(name, ()):
                counter[1] = int(counter[1]) - 1
                if counter[1] == 0:
                    pending.append(str(counter[0]))
        return productive
