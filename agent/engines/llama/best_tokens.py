"""The best tokens of a step, from the function that `sampling/best_tokens.cpp` adds to llama.cpp."""

from __future__ import annotations

import ctypes
from typing import Any, Final

from agent.engines.llama.library import llama

MOST: Final = 1024
"""To look for. For more, a list of the whole vocabulary costs little more."""


def _find() -> Any:
    """None in a llama.cpp that was built without it."""
    function = getattr(llama._lib, "edge_agent_best_tokens", None)
    if function is not None:
        function.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p]
        function.restype = ctypes.c_int32
    return function


_FUNCTION: Final = _find()


class BestTokens:
    """Finds the best `wanted` of `vocabulary` tokens, again and again, in memory of its own."""

    def __init__(self, wanted: int, vocabulary: int) -> None:
        self._wanted = min(wanted, vocabulary)
        self._vocabulary = vocabulary
        self._found = (llama.llama_token_data * self._wanted)()

    def find(self, logits: Any) -> Any:
        """A `llama_token_data_array` of them, the best first, good until the next call; None where there are not as
        many that are numbers. `logits` is a pointer to a float per token."""
        if _FUNCTION(logits, self._vocabulary, self._wanted, self._found) < self._wanted:
            return None
        return llama.llama_token_data_array(data=self._found, size=self._wanted, selected=-1, sorted=True)


def best_tokens(wanted: int, vocabulary: int) -> BestTokens | None:
    """None where that is not worth it, or not to be had."""
    return BestTokens(wanted, vocabulary) if _FUNCTION is not None and 1 <= wanted <= MOST else None
