"""The regular expressions that `pattern` may hold, parsed into a tree.

Supported: literal characters, `.`, `[...]` and `[^...]` with ranges, `\\d \\w \\s \\D \\W \\S`,
`\\t \\n \\r \\f \\v \\xHH \\uHHHH`, an escaped punctuation character, `(...)`, `(?:...)`, `(?<name>...)`, `|`,
`* + ? {m} {m,} {m,n}` (also lazy: the same language), `^` and `$`. Anything else is a `PatternError`.

JSON Schema says ECMA-262; validators in Python use `re`, which reads `\\d \\w \\s` as Unicode classes. A text that is
generated matches under both readings: `surely` holds the code points that are in a class under each, `possibly` those
that are under at least one, and a negation takes the complement of `possibly`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.engines.llama.grammar.gbnf import Ranges

MAX_PATTERN_CHARACTERS = 2000
MAX_GROUP_DEPTH = 50
MAX_REPETITIONS = 1000

LAST = 0x10FFFF
UNIVERSE: Ranges = ((0, 0xD7FF), (0xE000, LAST))


class PatternError(ValueError):
    """The pattern is not in the supported subset; the text says what is not."""


def union(parts: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted and disjoint, touching ranges joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(parts):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


def intersection(first: Ranges, second: Ranges) -> Ranges:
    found = []
    i = j = 0
    while i < len(first) and j < len(second):
        low, high = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        if low <= high:
            found.append((low, high))
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def complement(ranges: Ranges) -> Ranges:
    """Every Unicode scalar value that is not in `ranges`."""
    gaps = []
    start = 0
    for low, high in ranges:
        if start < low:
            gaps.append((start, low - 1))
        start = high + 1
    if start <= LAST:
        gaps.append((start, LAST))
    return intersection(tuple(gaps), UNIVERSE)


@dataclass(frozen=True)
class Chars:
    ranges: Ranges


@dataclass(frozen=True)
class Anchor:
    """`^` when `start`, else `$`."""

    start: bool


@dataclass(frozen=True)
class Sequence:
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Choice:
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Repeat:
    part: Tree
    low: int
    high: int | None


Tree = Chars | Anchor | Sequence | Choice | Repeat


@dataclass(frozen=True)
class _Set:
    surely: Ranges
    possibly: Ranges

    def negated(self) -> _Set:
        return _Set(complement(self.possibly), complement(self.surely))


def _exact(*ranges: tuple[int, int]) -> _Set:
    return _Set(union(ranges), union(ranges))


_NOT_ASCII = (0x80, LAST)
_DIGITS = ((0x30, 0x39),)
_WORD = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE = ((0x09, 0x0D), (0x20, 0x20))
# Every code point that ECMA-262 or Python takes for white space.
_ANY_SPACE = (
    *((0x09, 0x0D), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x180E, 0x180E)),
    *((0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
_CLASSES = {
    "d": _Set(_DIGITS, union((*_DIGITS, _NOT_ASCII))),
    "w": _Set(_WORD, union((*_WORD, _NOT_ASCII))),
    "s": _Set(_SPACE, _ANY_SPACE),
}
_CLASSES |= {name.upper(): members.negated() for name, members in _CLASSES.items()}
_DOT = _exact((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)).negated()
_CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D}


def parse(pattern: str) -> Tree:
    """Raises `PatternError`."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise PatternError(f"is longer than {MAX_PATTERN_CHARACTERS} characters")
    parser = _Parser(pattern)
    tree = parser.choice(0)
    if parser.peek():
        raise PatternError('has a ")" without its "("')
    return tree


class _Parser:
    """Recursive descent over `self._text`; each method consumes what it names."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _next(self) -> str:
        character = self.peek()
        if not character:
            raise PatternError("ends too early")
        self._at += 1
        return character

    def choice(self, depth: int) -> Tree:
        if depth > MAX_GROUP_DEPTH:
            raise PatternError(f"has groups deeper than {MAX_GROUP_DEPTH}")
        parts = [self._sequence(depth)]
        while self._take("|"):
            parts.append(self._sequence(depth))
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self, depth: int) -> Tree:
        parts: list[Tree] = []
        while self.peek() and self.peek() not in "|)":
            parts.append(self._quantified(self._atom(depth)))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _quantified(self, part: Tree) -> Tree:
        bounds: tuple[int, int | None]
        if self._take("*"):
            bounds = (0, None)
        elif self._take("+"):
            bounds = (1, None)
        elif self._take("?"):
            bounds = (0, 1)
        elif self.peek() == "{":
            bounds = self._braces()
        else:
            return part
        self._take("?")
        if self.peek() and self.peek() in "*+?{":
            raise PatternError("has two quantifiers in a row")
        return Repeat(part, *bounds)

    def _braces(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        low, comma, high = self._text[self._at + 1 : end].partition(",") if end > 0 else ("", "", "")
        numbers = [low, high] if high else [low]
        if not all(n.isascii() and n.isdigit() and len(n) <= 9 for n in numbers):
            raise PatternError('has a "{" that starts no {m}, {m,} or {m,n}; write \\{ for the character')
        self._at = end + 1
        bounds = int(low), int(high) if high else None if comma else int(low)
        if max(bounds[0], bounds[1] or 0) > MAX_REPETITIONS:
            raise PatternError(f"repeats more than {MAX_REPETITIONS} times")
        if bounds[1] is not None and bounds[1] < bounds[0]:
            raise PatternError("has a {m,n} with n below m")
        return bounds

    def _atom(self, depth: int) -> Tree:
        character = self._next()
        if character == "(":
            return self._group(depth)
        if character == "[":
            return self._class()
        if character == "\\":
            return Chars(self._escape(in_class=False).surely)
        if character == ".":
            return Chars(_DOT.surely)
        if character in "^$":
            return Anchor(start=character == "^")
        if character in "*+?{":
            raise PatternError(f'has a "{character}" with nothing to repeat')
        return Chars(((ord(character), ord(character)),))

    def _group(self, depth: int) -> Tree:
        if self._take("?"):
            named = self._take("P<") or self._take("<")
            if named and self.peek() not in ("=", "!"):
                while self._next() != ">":
                    pass
            elif named or not self._take(":"):
                raise PatternError("has a lookaround, a flag or another (?...) group")
        tree = self.choice(depth + 1)
        if not self._take(")"):
            raise PatternError('has a "(" without its ")"')
        return tree

    def _class(self) -> Tree:
        negated = self._take("^")
        if self.peek() == "]":
            raise PatternError('has an empty class; write \\] for the character "]"')
        surely: list[tuple[int, int]] = []
        possibly: list[tuple[int, int]] = []
        while not self._take("]"):
            item = self._class_item()
            if self.peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                item = self._range(item, self._class_item())
            surely += item.surely
            possibly += item.possibly
        members = _Set(union(surely), union(possibly))
        return Chars((members.negated() if negated else members).surely)

    def _class_item(self) -> _Set:
        character = self._next()
        if character == "\\":
            return self._escape(in_class=True)
        return _exact((ord(character), ord(character)))

    def _range(self, first: _Set, last: _Set) -> _Set:
        (low, low_end), (high, high_end) = first.surely[0], last.surely[0]
        if low != low_end or high != high_end or len(first.surely) + len(last.surely) != 2 or high < low:
            raise PatternError("has a class with a range that is none")
        return _exact((low, high))

    def _escape(self, *, in_class: bool) -> _Set:
        character = self._next()
        if character in _CLASSES:
            return _CLASSES[character]
        if character in _CONTROLS:
            code_point = _CONTROLS[character]
        elif character == "b" and in_class:
            code_point = 0x08
        elif character in "xu":
            size = 2 if character == "x" else 4
            digits = self._text[self._at : self._at + size]
            if len(digits) != size or not all(d in "0123456789abcdefABCDEF" for d in digits):
                raise PatternError(f"has a \\{character} without its {size} hexadecimal digits")
            self._at += size
            code_point = int(digits, 16)
            if 0xD800 <= code_point <= 0xDFFF:
                raise PatternError("has a surrogate code point")
        elif character.isalnum() or character == "_":
            raise PatternError(f'has the escape "\\{character}"')
        else:
            code_point = ord(character)
        return _exact((code_point, code_point))
