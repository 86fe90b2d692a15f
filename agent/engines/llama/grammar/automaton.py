"""Sets of strings as deterministic finite automata over code points."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from agent.engines.llama.grammar import regex

MAX_MINIMIZING_STEPS = 10_000

Edge = tuple[int, int, int]
"""Low and high code point, both included, and the state they lead to."""


@dataclass(frozen=True)
class Automaton:
    """State 0 starts. `edges[state]` are disjoint and sorted; every state can reach an accepting one, save perhaps 0.

    From a state in `universal` every string is accepted.
    """

    edges: tuple[tuple[Edge, ...], ...]
    accepting: frozenset[int]
    universal: frozenset[int] = frozenset()
    steps: int = field(default=0, compare=False)
    """What it took to build it."""

    def accepts(self, text: str) -> bool:
        state = 0
        for character in map(ord, text):
            for low, high, target in self.edges[state]:
                if low <= character <= high:
                    state = target
                    break
            else:
                return False
        return state in self.accepting

    @cached_property
    def shortest(self) -> int | None:
        """Length in code points of the shortest string accepted; None when there is none."""
        distance = {0: 0}
        pending = deque([0])
        while pending:
            state = pending.popleft()
            if state in self.accepting:
                return distance[state]
            for _, _, target in self.edges[state]:
                if target not in distance:
                    distance[target] = distance[state] + 1
                    pending.append(target)
        return None

    @cached_property
    def longest(self) -> int | None:
        """Length of the longest string accepted; None when there is no longest."""
        if self.universal:
            return None
        incoming = [0] * len(self.edges)
        for edges in self.edges:
            for _, _, target in edges:
                incoming[target] += 1
        distance = [0] * len(self.edges)
        pending = [state for state, count in enumerate(incoming) if not count]
        ordered = 0
        while pending:
            state = pending.pop()
            ordered += 1
            for _, _, target in self.edges[state]:
                distance[target] = max(distance[target], distance[state] + 1)
                incoming[target] -= 1
                if not incoming[target]:
                    pending.append(target)
        return max(distance) if ordered == len(self.edges) else None


def excluding(texts: Iterable[str]) -> Automaton:
    """Every string but `texts`."""
    anything = 1
    children: list[dict[int, int]] = [{}, {}]
    excluded = set()
    for text in texts:
        state = 0
        for character in map(ord, text):
            if character not in children[state]:
                children[state][character] = len(children)
                children.append({})
            state = children[state][character]
        excluded.add(state)
    edges = []
    for members in children:
        taken = regex.union((c, c) for c in members)
        elsewhere = [(low, high, anything) for low, high in regex.complement(taken)]
        edges.append(tuple(sorted([*elsewhere, *((c, c, target) for c, target in members.items())])))
    return Automaton(tuple(edges), frozenset(range(len(children))) - excluded, frozenset({anything}))


def trimmed(edges: Sequence[tuple[Edge, ...]], accepting: list[bool], universal: set[int], steps: int) -> Automaton:
    """The automaton without the states that cannot reach an accepting one."""
    sources: list[list[int]] = [[] for _ in edges]
    for state, leaving in enumerate(edges):
        for _, _, target in leaving:
            sources[target].append(state)
    alive = {state for state, final in enumerate(accepting) if final}
    pending = list(alive)
    while pending:
        for source in sources[pending.pop()]:
            if source not in alive:
                alive.add(source)
                pending.append(source)
    kept = sorted(alive | {0})
    numbers = {state: number for number, state in enumerate(kept)}
    return Automaton(
        tuple(tuple((low, high, numbers[t]) for low, high, t in edges[state] if t in alive) for state in kept),
        frozenset(numbers[state] for state in kept if accepting[state]),
        frozenset(numbers[state] for state in universal),
        steps,
    )


def minimized(source: Automaton) -> Automaton:
    """The smallest equivalent automaton, by Moore's refinement; `source` itself where that would take long."""
    edge_count = sum(map(len, source.edges))
    classes = [int(state in source.accepting) for state in range(len(source.edges))]
    count = len(set(classes))
    for _ in range(MAX_MINIMIZING_STEPS // (edge_count + 1)):
        numbers: dict[tuple[int, tuple[Edge, ...]], int] = {}
        leaving = [_joined([(low, high, classes[t]) for low, high, t in edges]) for edges in source.edges]
        # setdefault in the order of states: the class of state 0 is 0.
        classes = [numbers.setdefault((classes[s], edges), len(numbers)) for s, edges in enumerate(leaving)]
        if len(numbers) == count:
            break
        count = len(numbers)
    else:
        return source
    first = {number: state for state, number in reversed(list(enumerate(classes)))}
    edges = tuple(
        _joined([(low, high, classes[t]) for low, high, t in source.edges[first[number]]]) for number in range(count)
    )
    accepting = frozenset(classes[state] for state in source.accepting)
    universal = frozenset(classes[state] for state in source.universal)
    return Automaton(edges, accepting, universal, source.steps + edge_count)


def _joined(edges: list[Edge]) -> tuple[Edge, ...]:
    """Neighboring ranges with the same target as one."""
    joined: list[Edge] = []
    for low, high, target in edges:
        if joined and joined[-1][1] + 1 == low and joined[-1][2] == target:
            joined[-1] = (joined[-1][0], high, target)
        else:
            joined.append((low, high, target))
    return tuple(joined)
