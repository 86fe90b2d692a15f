"""Which slot a new sequence gets, and how much of its prompt is there already. Decisions only."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

_SHORT_TAIL_TOKENS = 16
_WORTH_COPYING_TOKENS = 8


def common_prefix(a: array[int], b: array[int]) -> int:
    """Length of the longest common prefix, by bisection over slices that C compares."""
    low, high = 0, min(len(a), len(b))
    if not high or a[0] != b[0]:
        return 0
    if a[:high] == b[:high]:
        return high
    while low < high - 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


@dataclass
class Slot:
    """One llama.cpp sequence id. `tokens` are those whose keys and values are in the KV cache, position by position."""

    index: int
    tokens: array[int] = field(default_factory=lambda: array("i"))
    busy: bool = False
    last_used: int = 0
    min_reuse_tokens: int = 0
    """A prefix shorter than this cannot be reused: the model cannot roll its memory back that far."""


@dataclass(frozen=True)
class Placement:
    """Take `slot` with the first `reused` tokens of the prompt: its own, copied from `source`, or from the host."""

    slot: Slot
    reused: int
    source: Slot | None = None
    from_host: bool = False


def place(prompt: array[int], slots: Sequence[Slot], *, host_prefix_tokens: int, reuse: bool) -> Placement | None:
    """A place for `prompt`, or None when every slot is busy.

    The last token is always computed again, as its logits are wanted. A slot whose conversation goes on (only a short
    tail would be lost) is continued in place. A prefix shared with another conversation is copied, which costs nothing
    in a unified KV cache, into an empty slot or the least recently used one, so that both conversations stay.
    """
    idle = [slot for slot in slots if not slot.busy]
    if not idle:
        return None
    oldest = min(idle, key=lambda slot: (len(slot.tokens) > 0, slot.last_used))
    if not reuse:
        return Placement(oldest, 0)
    shared = {slot.index: _reusable(prompt, slot) for slot in slots}
    best = max(slots, key=lambda slot: (shared[slot.index], not slot.busy, slot.last_used))
    length = shared[best.index]
    if host_prefix_tokens > length + _WORTH_COPYING_TOKENS:
        return Placement(oldest, host_prefix_tokens, from_host=True)
    going_on = [s for s in idle if shared[s.index] == length and len(s.tokens) - length <= _tail(length)]
    if length and going_on:
        return Placement(min(going_on, key=lambda slot: len(slot.tokens)), length)
    if best is oldest:
        return Placement(oldest, length)
    if length >= _WORTH_COPYING_TOKENS:
        return Placement(oldest, length, source=best)
    return Placement(oldest, 0)


def _tail(shared_tokens: int) -> int:
    return max(_SHORT_TAIL_TOKENS, shared_tokens // 32)


def _reusable(prompt: array[int], slot: Slot) -> int:
    length = min(common_prefix(prompt, slot.tokens), len(prompt) - 1)
    return length if length >= slot.min_reuse_tokens else 0
