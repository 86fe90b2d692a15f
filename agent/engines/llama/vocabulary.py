"""Text to tokens and back, for one loaded model."""

from __future__ import annotations

import ctypes
from array import array
from typing import Any

from agent.engines.llama.library import llama

_NO_TOKEN = -1


class Vocabulary:
    """The tokenizer inside a GGUF. Token ids are ints in [0, `size`)."""

    def __init__(self, model: Any) -> None:
        self.pointer: Any = llama.llama_model_get_vocab(model)
        self.size: int = llama.llama_vocab_n_tokens(self.pointer)
        self.adds_bos: bool = llama.llama_vocab_get_add_bos(self.pointer)
        self.bos: int = llama.llama_vocab_bos(self.pointer)
        self.eos: int = llama.llama_vocab_eos(self.pointer)
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self._hidden: array[int] | None = None

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> array[int]:
        """Tokens of `text`; lone surrogates are replaced, as they have no UTF-8."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        buffer = (ctypes.c_int32 * room)()
        count = llama.llama_tokenize(self.pointer, data, len(data), buffer, room, add_special, parse_special)
        if count < 0:
            room = -count
            buffer = (ctypes.c_int32 * room)()
            count = llama.llama_tokenize(self.pointer, data, len(data), buffer, room, add_special, parse_special)
        tokens = array("i")
        tokens.frombytes(memoryview(buffer).cast("B")[: 4 * max(count, 0)])
        return tokens

    def piece(self, token: int) -> bytes:
        """The bytes that a generated token shows; control tokens show nothing."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._render(token, special=False)
        return found

    def name(self, token: int) -> str:
        """A token as text, control tokens included; empty for no token (-1)."""
        return "" if token == _NO_TOKEN else self._render(token, special=True).decode("utf-8", "replace")

    def ends_generation(self, token: int) -> bool:
        found = self._ends.get(token)
        if found is None:
            found = self._ends[token] = bool(llama.llama_vocab_is_eog(self.pointer, token))
        return found

    def hidden_tokens(self) -> array[int]:
        """Control tokens that do not end a generation: they show nothing, whatever their name says."""
        if self._hidden is None:
            control = (t for t in range(self.size) if llama.llama_vocab_is_control(self.pointer, t))
            self._hidden = array("i", (t for t in control if not self.ends_generation(t)))
        return self._hidden

    def _render(self, token: int, *, special: bool) -> bytes:
        room = 64
        buffer = ctypes.create_string_buffer(room)
        size = llama.llama_token_to_piece(self.pointer, token, buffer, room, 0, special)
        if size < 0:
            room = -size
            buffer = ctypes.create_string_buffer(room)
            size = llama.llama_token_to_piece(self.pointer, token, buffer, room, 0, special)
        return buffer.raw[: max(size, 0)]
