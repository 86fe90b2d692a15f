"""From a regular expression to an automaton: Thompson's construction, then subsets of its states."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from agent.engines.llama.grammar import regex
from agent.engines.llama.grammar.automaton import Automaton, Edge, minimized, trimmed
from agent.engines.llama.grammar.gbnf import Ranges
from agent.engines.llama.grammar.regex import UNIVERSE, PatternError

MAX_PATTERN_STATES = 3000
MAX_WORK = 40_000


def from_pattern(pattern: str) -> Automaton:
    """The strings in which `pattern` is found, anywhere unless it is anchored, as JSON Schema has it.

    Raises `PatternError` for what `regex.parse` does not read, or when the automaton grows too large.
    """
    return _Determinizer(_Nondeterministic(regex.parse(pattern))).run()


@dataclass
class _State:
    chars: list[tuple[Ranges, int]] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    at_start: list[int] = field(default_factory=list)
    at_end: list[int] = field(default_factory=list)


class _Nondeterministic:
    """Thompson's construction. State 0 loops over what precedes the match, `last` over what follows it."""

    def __init__(self, tree: regex.Tree) -> None:
        self.states: list[_State] = [_State()]
        self._work = 0
        self.states[0].chars.append((UNIVERSE, 0))
        entry = self._new()
        self.states[0].empty.append(entry)
        self.last = self._add(tree, entry)
        # A state of its own: the loop must not lie on a path of the pattern itself.
        end = self._new()
        self.states[self.last].empty.append(end)
        self.states[end].chars.append((UNIVERSE, end))
        self.last = end

    def _new(self) -> int:
        if len(self.states) >= MAX_PATTERN_STATES:
            raise PatternError("is too complex")
        self.states.append(_State())
        return len(self.states) - 1

    def _link(self, source: int, target: int) -> None:
        self.states[source].empty.append(target)

    def _add(self, tree: regex.Tree, entry: int) -> int:
        """Adds paths for `tree` from `entry`; returns the state where they end."""
        self._work += 1
        if self._work > MAX_WORK:
            raise PatternError("is too complex")
        match tree:
            case regex.Chars(ranges):
                end = self._new()
                self.states[entry].chars.append((ranges, end))
            case regex.Anchor(start):
                end = self._new()
                state = self.states[entry]
                (state.at_start if start else state.at_end).append(end)
            case regex.Sequence(parts):
                end = entry
                for part in parts:
                    end = self._add(part, end)
            case regex.Choice(parts):
                end = self._new()
                for part in parts:
                    start_of_part = self._new()
                    self._link(entry, start_of_part)
                    self._link(self._add(part, start_of_part), end)
            case regex.Repeat(part, low, high):
                end = self._repeat(part, low, high, entry)
        return end

    def _repeat(self, part: regex.Tree, low: int, high: int | None, entry: int) -> int:
        here = entry
        for _ in range(low):
            here = self._add(part, here)
        end = self._new()
        if high is None:
            loop = self._new()
            self._link(here, loop)
            body = self._new()
            self._link(loop, body)
            self._link(self._add(part, body), loop)
            self._link(loop, end)
        else:
            for _ in range(high - low):
                self._link(here, end)
                here = self._add(part, here)
            self._link(here, end)
        return end


class _Determinizer:
    """Subset construction, counting its steps: a hostile pattern can have exponentially many subsets."""

    def __init__(self, source: _Nondeterministic) -> None:
        self._source = source
        self._numbers: dict[frozenset[int], int] = {}
        self._subsets: list[frozenset[int]] = []
        self._closures: dict[frozenset[int], frozenset[int]] = {}
        self._work = 0

    def run(self) -> Automaton:
        # Not numbered: only at the start does "^" hold, also after a "$".
        self._subsets.append(self._closure(frozenset({0}), at_start=True))
        edges: list[tuple[Edge, ...]] = []
        while len(edges) < len(self._subsets):
            edges.append(self._edges_of(self._subsets[len(edges)]))
        last = self._source.last
        accepting = [
            last in self._closure(subset, at_start=state == 0, at_end=True)
            for state, subset in enumerate(self._subsets)
        ]
        universal = {number for number, subset in enumerate(self._subsets) if last in subset}
        return minimized(trimmed(edges, accepting, universal, self._work))

    def _number(self, subset: frozenset[int]) -> int:
        if subset not in self._numbers:
            if len(self._subsets) >= MAX_PATTERN_STATES:
                raise PatternError("is too complex")
            self._numbers[subset] = len(self._subsets)
            self._subsets.append(subset)
        return self._numbers[subset]

    def _spend(self, steps: int) -> None:
        self._work += steps
        if self._work > MAX_WORK:
            raise PatternError("is too complex")

    def _closure(self, subset: frozenset[int], *, at_start: bool = False, at_end: bool = False) -> frozenset[int]:
        """States reachable without a character; everything after the match is one state."""
        seen = set(subset)
        pending = list(subset)
        while pending:
            state = self._source.states[pending.pop()]
            targets = state.empty + (state.at_start if at_start else []) + (state.at_end if at_end else [])
            self._spend(1 + len(targets))
            for target in targets:
                if target not in seen:
                    seen.add(target)
                    pending.append(target)
        return frozenset({self._source.last}) if self._source.last in seen else frozenset(seen)

    def _edges_of(self, subset: frozenset[int]) -> tuple[Edge, ...]:
        """Cuts the code points where any range starts or ends, and follows each piece."""
        opening: dict[int, list[int]] = {}
        closing: dict[int, list[int]] = {}
        for number in subset:
            for ranges, target in self._source.states[number].chars:
                self._spend(len(ranges))
                for low, high in ranges:
                    opening.setdefault(low, []).append(target)
                    closing.setdefault(high + 1, []).append(target)
        active: dict[int, int] = {}
        edges: list[Edge] = []
        cuts = sorted(opening.keys() | closing.keys())
        for low, following in pairwise(cuts):
            for target in opening.get(low, ()):
                active[target] = active.get(target, 0) + 1
            for target in closing.get(low, ()):
                active[target] -= 1
                if not active[target]:
                    del active[target]
            if active:
                self._spend(len(active))
                key = frozenset(active)
                if key not in self._closures:
                    self._closures[key] = self._closure(key)
                edges.append((low, following - 1, self._number(self._closures[key])))
        return tuple(edges)
