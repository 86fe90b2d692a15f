"""A llama_batch over memory of ours, filled by slices instead of element by element."""

from __future__ import annotations

import ctypes
from array import array

from agent.engines.llama.library import llama


class Batch:
    """Room for `capacity` tokens. `add` appends a run of one sequence; `clear` starts over.

    Every token belongs to one sequence; `outputs[i]` is 1 where logits are wanted.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        int32 = ctypes.c_int32 * capacity
        self._arrays = (int32(), int32(), int32(), int32(*([1] * capacity)), (ctypes.c_int8 * capacity)())
        token, position, sequence, counts, output = self._arrays
        self.tokens, self.positions, self._sequences = (_view(a) for a in (token, position, sequence))
        self.outputs = memoryview(output).cast("B")
        pointer = ctypes.POINTER(ctypes.c_int32)
        base = ctypes.addressof(sequence)
        self._pointers = (pointer * capacity)(*(ctypes.cast(base + 4 * i, pointer) for i in range(capacity)))
        self._struct = llama.llama_batch(
            n_tokens=0,
            token=ctypes.cast(token, ctypes.POINTER(llama.llama_token)),
            embd=None,
            pos=ctypes.cast(position, ctypes.POINTER(llama.llama_pos)),
            n_seq_id=ctypes.cast(counts, ctypes.POINTER(ctypes.c_int32)),
            seq_id=ctypes.cast(self._pointers, ctypes.POINTER(ctypes.POINTER(llama.llama_seq_id))),
            logits=ctypes.cast(output, ctypes.POINTER(ctypes.c_int8)),
        )

    def clear(self) -> None:
        self.size = 0

    def add(self, tokens: array[int], position: int, sequence: int, *, outputs: bytes) -> int:
        """Append `tokens` at `position` of `sequence`; `outputs` holds a 0 or 1 per token. Returns the first index."""
        start, end = self.size, self.size + len(tokens)
        self.tokens[start:end] = tokens
        self.positions[start:end] = array("i", range(position, position + len(tokens)))
        self._sequences[start:end] = array("i", [sequence]) * len(tokens)
        self.outputs[start:end] = outputs
        self.size = end
        return start

    def struct(self) -> llama.llama_batch:
        """The C struct for `llama_decode`; valid until the next change."""
        self._struct.n_tokens = self.size
        return self._struct


def _view(values: ctypes.Array[ctypes.c_int32]) -> memoryview:
    return memoryview(values).cast("B").cast("i")
