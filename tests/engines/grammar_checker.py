"""llama.cpp's own grammar sampler as a judge of strings, and as a writer of random ones."""

from __future__ import annotations

import codecs
import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as llama
from numpy.typing import NDArray

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_BOOST = 4.0


class GrammarChecker:
    """Holds the vocabulary of one GGUF, which must have a token for each of the 256 bytes."""

    def __init__(self, path: Path) -> None:
        llama.llama_backend_init()
        parameters = llama.llama_model_default_params()
        parameters.vocab_only = True
        self._model = llama.llama_model_load_from_file(str(path).encode(), parameters)
        assert self._model
        self._vocab = llama.llama_model_get_vocab(self._model)
        count = llama.llama_vocab_n_tokens(self._vocab)
        self._pieces = [self._piece(token) for token in range(count)]
        self._token_of = {piece: token for token, piece in reversed(list(enumerate(self._pieces)))}
        self._eog = next(token for token in range(count) if llama.llama_vocab_is_eog(self._vocab, token))
        self._pieces[self._eog] = b""

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        size = llama.llama_token_to_piece(self._vocab, token, buffer, 64, 0, False)
        return buffer.raw[: max(size, 0)]

    def close(self) -> None:
        llama.llama_model_free(self._model)

    def start(self, grammar: str) -> Any:
        sampler = llama.llama_sampler_init_grammar(self._vocab, grammar.encode(), b"root")
        assert sampler, f"does not parse:\n{grammar}"
        return sampler

    def _allowed(self, sampler: Any, tokens: NDArray[np.int32]) -> NDArray[np.bool_]:
        candidates = np.zeros(len(tokens), _CANDIDATE)
        candidates["id"] = tokens
        data = candidates.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
        array = llama.llama_token_data_array(data, len(tokens), -1, False)
        llama.llama_sampler_apply(sampler, ctypes.byref(array))
        return np.asarray(np.isfinite(candidates["logit"]))

    def _first_rejected(self, sampler: Any, text: bytes) -> int | None:
        """Index of the first byte that is not allowed; None if `text` is a whole document."""
        for index in range(len(text)):
            token = self._token_of[text[index : index + 1]]
            if not self._allowed(sampler, np.array([token], np.int32))[0]:
                return index
            llama.llama_sampler_accept(sampler, token)
        return None if self._allowed(sampler, np.array([self._eog], np.int32))[0] else len(text)

    def accepts(self, grammar: str, text: str) -> bool:
        sampler = self.start(grammar)
        try:
            return self._first_rejected(sampler, text.encode()) is None
        finally:
            llama.llama_sampler_free(sampler)

    def write(self, grammar: str, random: np.random.Generator, limit: int) -> str | None:
        """A random document of at most `limit` tokens, or None if it would be longer. Ends and closing brackets are
        made likelier, so that most documents end.

        Two kinds of tokens are not drawn although llama.cpp's grammar allows them: those that make the bytes invalid
        UTF-8 (it takes overlong sequences, byte by byte), and control tokens, whose names it takes for their text.
        """
        sampler = self.start(grammar)
        decoder = codecs.getincrementaldecoder("utf-8")("strict")
        tokens = np.arange(len(self._pieces), dtype=np.int32)
        closing = np.array([_BOOST if p.strip() in (b"]", b"}", b'"', b"") else 0.0 for p in self._pieces])
        shown = np.array([bool(piece) or token == self._eog for token, piece in enumerate(self._pieces)])
        text = ""
        try:
            for _ in range(limit):
                allowed = self._allowed(sampler, tokens) & shown
                scores = np.where(allowed, random.gumbel(size=len(tokens)) + closing, -np.inf)
                for token in np.argsort(-scores):
                    assert np.isfinite(scores[token]), f"no token may follow {text!r}"
                    if token == self._eog:
                        return text
                    state = decoder.getstate()
                    try:
                        text += decoder.decode(self._pieces[token])
                    except UnicodeDecodeError:
                        decoder.setstate(state)
                        continue
                    llama.llama_sampler_accept(sampler, int(token))
                    break
            return None
        finally:
            llama.llama_sampler_free(sampler)
