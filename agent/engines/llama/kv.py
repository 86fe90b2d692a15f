"""The KV cache: slots over llama.cpp's memory, and idle conversations on the host."""

from __future__ import annotations

import ctypes
from array import array
from typing import Any

from agent.engines.llama.library import llama
from agent.engines.llama.model import LlamaModel
from agent.engines.llama.prefix_cache import PrefixCache, Saved
from agent.engines.llama.slots import Placement, Slot, common_prefix

_WORTH_SAVING_TOKENS = 32


class KeyValueCache:
    """`slots[i]` is sequence id i. Each slot's `tokens` always says what llama.cpp holds for it."""

    def __init__(self, model: LlamaModel, *, slots: int, host_bytes: int) -> None:
        self.slots = [Slot(i) for i in range(slots)]
        self.host = PrefixCache(host_bytes)
        self._context = model.context
        self._memory = llama.llama_get_memory(model.context)
        self._recurrent = model.facts.recurrent
        self._window = model.facts.sliding_window_tokens
        self._clock = 0

    @property
    def used_tokens(self) -> int:
        """Tokens held by all slots; a prefix shared by two counts twice."""
        return sum(len(slot.tokens) for slot in self.slots)

    def refresh_reuse_limits(self) -> None:
        """Recurrent and sliding-window models keep no old state: find how short a reused prefix may be."""
        if not (self._recurrent or self._window):
            return
        for slot in self.slots:
            if self._recurrent:
                slot.min_reuse_tokens = max(len(slot.tokens), 1)
            else:
                oldest = llama.llama_memory_seq_pos_min(self._memory, slot.index)
                slot.min_reuse_tokens = oldest + self._window if oldest > 0 else 0

    def host_prefix(self, prompt: array[int]) -> int:
        """Tokens of `prompt` that the host holds state for."""
        return self.host.longest(prompt, whole=bool(self._recurrent or self._window))[0]

    def occupy(self, placement: Placement, prompt: array[int]) -> None:
        """Make the slot hold the placement's prefix of `prompt` and nothing else, and mark it busy.

        What the slot held before goes to the host if no other slot has it.
        """
        slot, source = placement.slot, placement.source
        slot.busy = True
        self._clock += 1
        slot.last_used = self._clock
        if source is None and not placement.from_host:
            if len(slot.tokens) - placement.reused > max(_WORTH_SAVING_TOKENS, placement.reused // 16):
                self._save(slot)
            self.truncate(slot, placement.reused)
            return
        saved = self.host.longest(prompt, whole=bool(self._recurrent or self._window))[1] if source is None else None
        self.evict(slot)
        if source is not None:
            llama.llama_memory_seq_cp(self._memory, source.index, slot.index, 0, placement.reused)
            slot.tokens = source.tokens[: placement.reused]
        elif saved is not None:
            self._restore(slot, saved)
            self.truncate(slot, placement.reused)

    def release(self, slot: Slot) -> None:
        """The sequence is done; its tokens stay for whoever continues them."""
        slot.busy = False
        self._clock += 1
        slot.last_used = self._clock

    def truncate(self, slot: Slot, length: int) -> int:
        """Keep the first `length` tokens, or none where the model cannot forget only some. Returns how many stay."""
        if length < len(slot.tokens):
            if not llama.llama_memory_seq_rm(self._memory, slot.index, length, -1):
                llama.llama_memory_seq_rm(self._memory, slot.index, -1, -1)
                length = 0
            del slot.tokens[length:]
        return len(slot.tokens)

    def resync(self, slot: Slot, tokens: array[int]) -> int:
        """After a failed step: set the slot's tokens by what llama.cpp kept of `tokens`. Returns how many."""
        kept = llama.llama_memory_seq_pos_max(self._memory, slot.index) + 1
        if kept > len(slot.tokens):
            slot.tokens = tokens[:kept]
        elif kept < len(slot.tokens):
            del slot.tokens[kept:]
        if self._recurrent and kept:
            return self.truncate(slot, 0)
        return len(slot.tokens)

    def evict(self, slot: Slot) -> None:
        """Empty the slot; its conversation goes to the host where there is room for it."""
        self._save(slot)
        llama.llama_memory_seq_rm(self._memory, slot.index, -1, -1)
        slot.tokens = array("i")

    def park(self) -> None:
        """Move idle conversations to the host while it has room that nobody else uses.

        A step looks at every cell up to the last one used, so idle conversations would slow down everybody else; and
        bringing one back is a copy, where computing it again is a prefill.
        """
        for slot in self.slots:
            if slot.busy or len(slot.tokens) < _WORTH_SAVING_TOKENS:
                continue
            size = llama.llama_state_seq_get_size(self._context, slot.index)
            if self.host.used_bytes + size <= self.host.capacity_bytes:
                self.evict(slot)

    def evict_idle(self) -> bool:
        """Empty the idle slot that was used longest ago. False when there is none."""
        idle = [slot for slot in self.slots if not slot.busy and slot.tokens]
        if not idle:
            return False
        self.evict(min(idle, key=lambda slot: slot.last_used))
        return True

    def clear(self) -> None:
        llama.llama_memory_clear(self._memory, True)
        for slot in self.slots:
            slot.tokens = array("i")

    def _save(self, slot: Slot) -> None:
        if len(slot.tokens) < _WORTH_SAVING_TOKENS or self.host.capacity_bytes == 0:
            return
        for other in self.slots:
            if other is not slot and common_prefix(slot.tokens, other.tokens) == len(slot.tokens):
                return
        size = llama.llama_state_seq_get_size(self._context, slot.index)
        if not self.host.would_hold(size):
            return
        state = bytearray(size)
        if llama.llama_state_seq_get_data(self._context, _bytes_of(state), size, slot.index) == size:
            self.host.put(Saved(slot.tokens[:], state))

    def _restore(self, slot: Slot, saved: Saved) -> None:
        size = len(saved.state)
        self.host.touch(saved)
        while llama.llama_state_seq_set_data(self._context, _bytes_of(saved.state), size, slot.index) != size:
            llama.llama_memory_seq_rm(self._memory, slot.index, -1, -1)
            if not self.evict_idle():
                return  # no room beside the running ones: compute it again instead
        slot.tokens = saved.tokens[:]


def _bytes_of(buffer: bytearray) -> Any:
    """A pointer into `buffer`, without a copy."""
    return ctypes.byref(ctypes.c_uint8.from_buffer(buffer))
