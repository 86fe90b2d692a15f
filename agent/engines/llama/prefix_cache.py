"""Keys and values of idle conversations, kept in host memory under a byte cap that the ledger knows of."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import dataclass

from agent.engines.llama.slots import common_prefix


@dataclass(frozen=True)
class Saved:
    """A sequence's state as llama.cpp serialized it, and the tokens it stands for."""

    tokens: array[int]
    state: bytearray


class PrefixCache:
    """Least recently used out first. `used_bytes` never exceeds `capacity_bytes`."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self._entries: OrderedDict[int, Saved] = OrderedDict()
        self._next = 0

    def would_hold(self, state_bytes: int) -> bool:
        return 0 < state_bytes <= self.capacity_bytes

    def put(self, saved: Saved) -> bool:
        """Keep `saved` if it fits at all; entries that it continues are dropped, as it serves for them too."""
        if not self.would_hold(len(saved.state)):
            return False
        for key in [k for k, e in self._entries.items() if common_prefix(e.tokens, saved.tokens) == len(e.tokens)]:
            self._drop(key)
        while self.used_bytes + len(saved.state) > self.capacity_bytes:
            self._drop(next(iter(self._entries)))
        self._entries[self._next] = saved
        self._next += 1
        self.used_bytes += len(saved.state)
        return True

    def longest(self, prompt: array[int], *, whole: bool = False) -> tuple[int, Saved | None]:
        """The entry sharing the longest prefix with `prompt`, the last token of it aside, and that prefix's length.

        `whole`: only entries that the prompt continues to their end, for models that cannot roll their memory back.
        """
        best, best_key = 0, None
        for key, entry in self._entries.items():
            length = min(common_prefix(prompt, entry.tokens), len(prompt) - 1)
            if length > best and (not whole or length == len(entry.tokens)):
                best, best_key = length, key
        return best, None if best_key is None else self._entries[best_key]

    def touch(self, saved: Saved) -> None:
        """Mark as just used."""
        for key, entry in self._entries.items():
            if entry is saved:
                self._entries.move_to_end(key)
                return

    def _drop(self, key: int) -> None:
        self.used_bytes -= len(self._entries.pop(key).state)
