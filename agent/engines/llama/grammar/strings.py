"""JSON strings: of a length, matching patterns and formats, or none of a set of names.

Characters are written as they are, save the quote, the backslash and control characters. A free string may hold every
escape that JSON has except surrogates (`\\uD800` to `\\uDFFF`), so that it always decodes; a string that must match a
pattern is written in one way only: raw, or `\\" \\\\ \\b \\f \\n \\r \\t`; it holds no other control characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from agent.engines.llama.grammar import pattern, regex
from agent.engines.llama.grammar.automaton import Automaton
from agent.engines.llama.grammar.gbnf import Alternative, Grammar, Ranges, char_class, literal
from agent.engines.llama.grammar.rejection import reject_size

MAX_PRODUCT_STATES = 4000

# Without C0, the quote, the backslash, DEL, C1 and the surrogates.
RAW: Ranges = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0xA0, 0xD7FF), (0xE000, 0x10FFFF))
_ESCAPED = {0x22: '\\"', 0x5C: "\\\\", 0x08: "\\b", 0x0C: "\\f", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
_HEX = "[0-9a-fA-F]"

_YEAR = r"(\d{3}[1-9]|\d{2}[1-9]\d|\d[1-9]\d{2}|[1-9]\d{3})"
_LEAP_YEAR = r"(\d\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_MONTH_AND_DAY = r"((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
_DATE = f"({_YEAR}-{_MONTH_AND_DAY}|{_LEAP_YEAR}-02-29)"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_OCTET = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL = "[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?"

FORMATS = {
    # RFC 3339 full-date in the proleptic Gregorian calendar, years 0001 to 9999; no leap seconds in times.
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "ipv4": rf"{_OCTET}(\.{_OCTET}){{3}}",
    # A dot-atom of the common characters of RFC 5322 before the @, host name labels of RFC 1123 after it
    # (of any length: counting them would multiply with a maxLength).
    "email": rf"[0-9A-Za-z_+-]+(\.[0-9A-Za-z_+-]+)*@{_LABEL}(\.{_LABEL})+",
}


@cache
def format_automaton(name: str) -> Automaton:
    """The automaton of one of `FORMATS`."""
    return pattern.from_pattern(f"^({FORMATS[name]})$")


def plain_char(grammar: Grammar) -> str:
    """The rule of one character of a free string."""
    code = grammar.rule(
        (char_class(((0x30, 0x39), (0x41, 0x43), (0x45, 0x46), (0x61, 0x63), (0x65, 0x66))), _HEX, _HEX, _HEX),
        ("[dD]", "[0-7]", _HEX, _HEX),
    )
    escape = grammar.rule((char_class(tuple((ord(c), ord(c)) for c in '"/\\bfnrt')),), ('"u"', code))
    return grammar.rule((char_class(RAW),), (literal("\\"), escape))


def string(grammar: Grammar, automata: Sequence[Automaton], low: int = 0, high: int | None = None) -> str:
    """The rule of a JSON string, quotes included, of `low` to `high` code points that all of `automata` accept."""
    remaining = [member for member in automata if 0 not in member.universal]
    if not remaining:
        if high is not None and high < low:
            return grammar.rule()
        return grammar.rule((literal('"'), *grammar.repeat(plain_char(grammar), low, high), literal('"')))
    if len(remaining) == 1 and (found := remaining[0].shortest) is not None:
        low = 0 if found >= low else low
        longest = remaining[0].longest
        high = None if high is not None and longest is not None and longest <= high else high
    return grammar.rule((literal('"'), _Product(grammar, remaining, low, high).rule()))


class _Product:
    """Rules for the states of several automata in step and, when lengths are bounded, of a counter."""

    def __init__(self, grammar: Grammar, automata: Sequence[Automaton], low: int, high: int | None) -> None:
        self._grammar = grammar
        self._automata = automata
        self._low = low
        self._high = high
        self._names: dict[tuple[int, ...], str] = {}
        self._pending: list[tuple[int, ...]] = []
        self._known_steps: dict[tuple[int, ...], list[tuple[str, tuple[int, ...]]]] = {}

    def rule(self) -> str:
        """The rule of what follows the opening quote."""
        start = self._name((0,) * (len(self._automata) + 1))
        while self._pending:
            state = self._pending.pop()
            self._grammar.define(self._names[state], self._alternatives(state))
        return start

    def _name(self, state: tuple[int, ...]) -> str:
        if state not in self._names:
            if len(self._names) >= MAX_PRODUCT_STATES:
                raise reject_size()
            self._names[state] = self._grammar.reserve()
            self._pending.append(state)
        return self._names[state]

    def _alternatives(self, state: tuple[int, ...]) -> list[Alternative]:
        *places, count = state
        if all(place in a.universal for a, place in zip(self._automata, places, strict=True)):
            low = max(0, self._low - count)
            high = None if self._high is None else self._high - count
            return [(*self._grammar.repeat(plain_char(self._grammar), low, high), literal('"'))]
        found: list[Alternative] = []
        if count >= self._low and all(p in a.accepting for a, p in zip(self._automata, places, strict=True)):
            found.append((literal('"'),))
        if self._high is not None and count >= self._high:
            return found
        counted = self._high is not None or count < self._low
        for terminal, targets in self._steps(tuple(places)):
            found.append((terminal, self._name((*targets, count + 1 if counted else count))))
        return found

    def _steps(self, places: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
        """The terminals with which all automata can go on, and where to."""
        if places not in self._known_steps:
            ranges_to: dict[tuple[int, ...], list[tuple[int, int]]] = {}
            for low, high, targets in self._joined_edges(places):
                ranges_to.setdefault(targets, []).append((low, high))
            self._known_steps[places] = [
                (terminal, targets)
                for targets, ranges in ranges_to.items()
                for terminal in _terminals(regex.union(ranges))
            ]
        return self._known_steps[places]

    def _joined_edges(self, places: tuple[int, ...]) -> list[tuple[int, int, tuple[int, ...]]]:
        steps: list[tuple[int, int, tuple[int, ...]]] = [(0, regex.LAST, ())]
        for member, place in zip(self._automata, places, strict=True):
            joined = []
            self._grammar.spend(len(steps) * len(member.edges[place]))
            for low, high, targets in steps:
                for edge_low, edge_high, target in member.edges[place]:
                    both = max(low, edge_low), min(high, edge_high)
                    if both[0] <= both[1]:
                        joined.append((*both, (*targets, target)))
            steps = joined
        return steps


def _terminals(ranges: Ranges) -> list[str]:
    """How the characters of `ranges` are written inside a JSON string."""
    raw = regex.intersection(ranges, RAW)
    terminals = [char_class(raw)] if raw else []
    escaped = [text for code, text in _ESCAPED.items() if any(low <= code <= high for low, high in ranges)]
    return terminals + [literal(text) for text in escaped]
