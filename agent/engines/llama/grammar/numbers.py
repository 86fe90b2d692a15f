"""JSON integers and numbers between bounds, as grammar rules.

A bound is exact: a number is accepted only if what Python reads from it (`int`, or `float` for decimals) lies within.
Where a side is open, integers have at most 15 digits (`MAX_DIGITS`: each is exact in a double); decimals have at
most 15 places, and exponents two digits. Bounded numbers have no exponent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from agent.engines.llama.grammar.gbnf import EMPTY, Alternative, Grammar, char_class, literal

Bound = tuple[int | float, bool]
"""A finite value, and whether it is excluded itself."""

Natural = Callable[[Grammar, int, int], list[Alternative]]
"""Alternatives for the numbers between two that are not negative."""

MAX_DIGITS = 15
MAX_PLACES = 15
MAX_TINY_PLACES = 40
MAX_MULTIPLE = 64
MAX_MULTIPLE_DIGITS = 9
MAX_LISTED = 100
_DIGIT = "[0-9]"
_NONZERO = "[1-9]"


def integer_range(lower: Bound | None, upper: Bound | None, digits: int = MAX_DIGITS) -> tuple[int, int]:
    """The least and the greatest integer within the bounds; an open side ends after so many digits, or one more than
    the other side has. The range may be empty."""
    low = None if lower is None else math.floor(lower[0]) + 1 if lower[1] else math.ceil(lower[0])
    high = None if upper is None else math.ceil(upper[0]) - 1 if upper[1] else math.floor(upper[0])
    if low is None:
        low = -_limit(0 if high is None else -high, digits)
    if high is None:
        high = _limit(low, digits)
    return low, high


def _limit(other: int, digits: int = MAX_DIGITS) -> int:
    digits = max(digits, len(str(other)) + 1 if other > 0 else 0)
    return int(10**digits) - 1


def integer(grammar: Grammar, lower: Bound | None, upper: Bound | None, multiple_of: int = 1) -> str:
    """The rule of the integers within the bounds that are multiples of `multiple_of`; without leading zeros, and zero
    without a sign.

    Raises `ValueError` when `multiple_of` has, its trailing zeros dropped, too large a rest to follow.
    """
    low, high = integer_range(lower, upper, MAX_DIGITS if multiple_of == 1 else MAX_MULTIPLE_DIGITS)
    if multiple_of == 1:
        return _signed(grammar, low, high, _natural)
    first, last = -(-low // multiple_of), high // multiple_of
    if last - first < MAX_LISTED:
        return grammar.choice(str(n * multiple_of) for n in range(first, last + 1))
    zeros = 0
    while multiple_of % 10 == 0:
        multiple_of //= 10
        zeros += 1
    if multiple_of > MAX_MULTIPLE or len(str(max(abs(low), abs(high)))) - zeros > MAX_DIGITS:
        raise ValueError(multiple_of)
    multiples = _Multiples(grammar, multiple_of, zeros)
    return _signed(grammar, low, high, multiples.natural)


def _signed(grammar: Grammar, low: int, high: int, natural: Natural) -> str:
    alternatives: list[Alternative] = []
    if low <= high and low < 0:
        negative = natural(grammar, max(1, -high), -low)
        alternatives += [(literal("-"), *digits) for digits in negative]
    if low <= high and high >= 0:
        alternatives += natural(grammar, max(0, low), high)
    return grammar.rule(*alternatives)


def _natural(grammar: Grammar, low: int, high: int) -> list[Alternative]:
    """Alternatives for `low` to `high`, both at least 0 and in order."""
    alternatives: list[Alternative] = []
    if low == 0:
        alternatives.append((literal("0"),))
        low = 1
    for shortest, longest in _lengths(low, high):
        first, last = max(low, 10 ** (shortest - 1)), min(high, 10**longest - 1)
        if shortest < longest or (first, last) == (10 ** (shortest - 1), 10**shortest - 1):
            alternatives.append((_NONZERO, *grammar.repeat(_DIGIT, shortest - 1, longest - 1)))
        else:
            alternatives += _same_length(grammar, str(first), str(last))
    return alternatives


def _lengths(low: int, high: int) -> list[tuple[int, int]]:
    """Cuts the numbers of digits from those of `low` to those of `high` into the first, the last and all between."""
    if low > high:
        return []
    shortest, longest = len(str(low)), len(str(high))
    if shortest == longest:
        return [(shortest, longest)]
    between = [(shortest + 1, longest - 1)] if longest - shortest > 1 else []
    return [(shortest, shortest), *between, (longest, longest)]


def _same_length(grammar: Grammar, low: str, high: str) -> list[Alternative]:
    """Alternatives for the digit strings from `low` to `high`, as long as each other."""
    common = next((i for i, (a, b) in enumerate(zip(low, high, strict=True)) if a != b), len(low))
    prefix: Alternative = (literal(low[:common]),) if common else EMPTY
    if common == len(low):
        return [prefix]
    rest = len(low) - common - 1
    first, last = int(low[common]), int(high[common])
    alternatives = [(*prefix, literal(low[common]), *_bounded_suffix(grammar, low[common + 1 :], least=True))]
    if last - first > 1:
        alternatives.append((*prefix, _digits(first + 1, last - 1), *grammar.repeat(_DIGIT, rest, rest)))
    alternatives.append((*prefix, literal(high[common]), *_bounded_suffix(grammar, high[common + 1 :], least=False)))
    return alternatives


def _bounded_suffix(grammar: Grammar, bound: str, *, least: bool) -> Alternative:
    """As many digits as `bound`, not below it if `least`, else not above it."""
    end = "0" if least else "9"
    symbols: Alternative = EMPTY
    free = True
    for rest, digit in enumerate(reversed(bound)):
        free = free and digit == end
        if free:
            symbols = grammar.repeat(_DIGIT, rest + 1, rest + 1)
            continue
        alternatives = [(literal(digit), *symbols)]
        value = int(digit)
        first, last = (value + 1, 9) if least else (0, value - 1)
        if first <= last:
            alternatives.append((_digits(first, last), *grammar.repeat(_DIGIT, rest, rest)))
        symbols = (grammar.rule(*alternatives),)
    return symbols


def _digits(first: int, last: int) -> str:
    return char_class(((0x30 + first, 0x30 + last),))


class _Multiples:
    """Multiples of `divisor` times a power of ten, by following the remainder from digit to digit."""

    def __init__(self, grammar: Grammar, divisor: int, zeros: int) -> None:
        self._grammar = grammar
        self._divisor = divisor
        self._zeros = zeros
        self._end: Alternative = (literal("0" * zeros),) if zeros else EMPTY
        self._free: dict[tuple[int, int, int], str] = {}

    def natural(self, grammar: Grammar, low: int, high: int) -> list[Alternative]:
        alternatives: list[Alternative] = [(literal("0"),)] if low == 0 else []
        power = 10**self._zeros
        low, high = max(1, -(-low // power)), high // power
        for shortest, longest in _lengths(low, high):
            first, last = max(low, 10 ** (shortest - 1)), min(high, 10**longest - 1)
            if shortest == longest:
                alternatives += self._same_length(str(first), str(last), 0)
            else:
                for digit in range(1, 10):
                    rest = self._between(shortest - 1, longest - 1, digit % self._divisor)
                    alternatives.append((literal(str(digit)), rest))
        return alternatives

    def _same_length(self, low: str, high: str, remainder: int) -> list[Alternative]:
        """As long as both, not below `low`, not above `high`; what came before leaves `remainder`."""
        if not low:
            return [] if remainder else [self._end]
        rest = len(low) - 1
        alternatives: list[Alternative] = []
        for digit in range(int(low[0]), int(high[0]) + 1):
            least = low[1:] if digit == int(low[0]) else "0" * rest
            greatest = high[1:] if digit == int(high[0]) else "9" * rest
            following = (remainder * 10 + digit) % self._divisor
            if least == "0" * rest and greatest == "9" * rest:
                name = self._between(rest, rest, following)
            else:
                name = self._grammar.rule(*self._same_length(least, greatest, following))
            alternatives.append((literal(str(digit)), name))
        return alternatives

    def _between(self, shortest: int, longest: int, remainder: int) -> str:
        """From `shortest` to `longest` more digits, after those that leave `remainder`."""
        key = (shortest, longest, remainder)
        if key not in self._free:
            name = self._free[key] = self._grammar.reserve()
            alternatives: list[Alternative] = [self._end] if shortest == 0 and remainder == 0 else []
            if longest:
                for digit in range(10):
                    following = (remainder * 10 + digit) % self._divisor
                    rest = self._between(max(0, shortest - 1), longest - 1, following)
                    alternatives.append((literal(str(digit)), rest))
            self._grammar.define(name, alternatives)
        return self._free[key]


def number(grammar: Grammar, lower: Bound | None, upper: Bound | None) -> str:
    """The rule of the numbers within the bounds: with an exponent if there are none, else in fixed-point notation."""
    if lower is None and upper is None:
        return _unbounded(grammar)
    low, high = _decimal_range(lower, upper)
    places = MAX_PLACES
    while math.ceil(low * 10**places) > math.floor(high * 10**places):
        places += 1
        if places > MAX_TINY_PLACES:
            # Perhaps a large integer that lies between two floats.
            return integer(grammar, lower, upper)
    if places > MAX_PLACES:
        places += 3
    least, greatest = math.ceil(low * 10**places), math.floor(high * 10**places)
    alternatives: list[Alternative] = []
    if least < 0:
        negative = _decimal(grammar, max(0, -greatest), -least, places)
        alternatives += [(literal("-"), *digits) for digits in negative]
    if greatest >= 0:
        alternatives += _decimal(grammar, max(0, least), greatest, places)
    return grammar.rule(*alternatives)


def _unbounded(grammar: Grammar) -> str:
    whole = grammar.rule((literal("0"),), (_NONZERO, *grammar.repeat(_DIGIT, 0, MAX_DIGITS - 1)))
    sign = grammar.rule(EMPTY, ("[+-]",))
    exponent = grammar.rule(EMPTY, ("[eE]", sign, *grammar.repeat(_DIGIT, 1, 2)))
    magnitude = grammar.rule((whole, _any_fraction(grammar, MAX_PLACES), exponent))
    return grammar.rule((magnitude,), (literal("-"), magnitude))


def _decimal_range(lower: Bound | None, upper: Bound | None) -> tuple[Fraction, Fraction]:
    """Bounds, both included, for the decimal as it is written.

    A reader rounds a decimal to the nearest float, and rounding is monotonic: what is written at or above the shortest
    decimal of a float f reads as f or more. So take the first float within the bound, and its shortest decimal. From
    2**53 on floats are integers, which Python also reads exactly, as `int`: there the float's exact value counts too.
    """
    low = None if lower is None else _first_decimal(lower, toward=math.inf)
    high = None if upper is None else _first_decimal(upper, toward=-math.inf)
    if low is None:
        low = Fraction(-_limit(0 if high is None else -math.floor(high)))
    if high is None:
        high = Fraction(_limit(math.ceil(low)))
    return low, high


def _first_decimal(bound: Bound, *, toward: float) -> Fraction:
    value, excluded = bound
    found = float(value)
    while (found < value if toward > 0 else found > value) or (excluded and found == value):
        found = math.nextafter(found, toward)
    if math.isinf(found):
        return Fraction(10**400 if toward > 0 else -(10**400))
    written, exact = Fraction(repr(found)), Fraction(found)
    if abs(found) < 2**53:
        return written
    return max(written, exact) if toward > 0 else min(written, exact)


def _any_fraction(grammar: Grammar, places: int) -> str:
    return grammar.rule(EMPTY, (literal("."), *grammar.repeat(_DIGIT, 1, places)))


def _decimal(grammar: Grammar, low: int, high: int, places: int) -> list[Alternative]:
    """Alternatives for `low` to `high`, neither negative, both in units of the last of `places` decimal places."""
    unit = 10**places
    (first, first_fraction), (last, last_fraction) = divmod(low, unit), divmod(high, unit)
    fractions = _Fractions(grammar, places)
    if first == last:
        return [(literal(str(first)), fractions.between(first_fraction, last_fraction))]
    alternatives: list[Alternative] = []
    if first_fraction:
        alternatives.append((literal(str(first)), fractions.between(first_fraction, unit - 1)))
        first += 1
    if last_fraction < unit - 1:
        alternatives.append((literal(str(last)), fractions.between(0, last_fraction)))
        last -= 1
    if first <= last:
        any_fraction = _any_fraction(grammar, places)
        alternatives += [(*digits, any_fraction) for digits in _natural(grammar, first, last)]
    return alternatives


class _Fractions:
    """What may follow an integer part: a point and at most `places` digits, or nothing. Places left out are zeros."""

    def __init__(self, grammar: Grammar, places: int) -> None:
        self._grammar = grammar
        self._places = places

    def between(self, low: int, high: int) -> str:
        if high == 0:
            return self._grammar.rule(EMPTY, (literal(".0"),))
        low_digits, high_digits = f"{low:0{self._places}}", f"{high:0{self._places}}"
        digits = self._grammar.rule(*self._next(low_digits, high_digits))
        point: Alternative = (literal("."), digits)
        return self._grammar.rule(EMPTY, point) if low == 0 else self._grammar.rule(point)

    def _next(self, low: str, high: str) -> list[Alternative]:
        """At least one digit, at most as many as both have."""
        first, last = int(low[0]), int(high[0])
        if first == last:
            return [(literal(low[0]), *self._rest(low[1:], high[1:]))]
        alternatives = [(literal(low[0]), *self._rest(low[1:], "9" * (len(low) - 1)))]
        if last - first > 1:
            alternatives.append((_digits(first + 1, last - 1), *self._grammar.repeat(_DIGIT, 0, len(low) - 1)))
        alternatives.append((literal(high[0]), *self._rest("0" * (len(low) - 1), high[1:])))
        return alternatives

    def _rest(self, low: str, high: str) -> Alternative:
        """As `_next`, or nothing if zeros are enough."""
        open_low, open_high = not low.strip("0"), not high.strip("9")
        if open_low and open_high:
            return self._grammar.repeat(_DIGIT, 0, len(low))
        following = self._next(low, high)
        return (self._grammar.rule(EMPTY, *following) if open_low else self._grammar.rule(*following),)
