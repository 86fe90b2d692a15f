"""From `Sampling` to a chain of llama.cpp samplers, and a token out of it."""

from __future__ import annotations

import codecs
import ctypes
import os
from collections.abc import Sequence
from typing import Any

from agent.engines.llama.best_tokens import best_tokens
from agent.engines.llama.library import llama
from agent.engines.llama.vocabulary import Vocabulary
from agent.errors import RequestError
from agent.runtime.wire.generation import Sampling

GREEDY_BELOW = 1e-4
_MOST_DRAWS = 512


class Sampler:
    """The sampler chain of one choice, in llama-server's order: logit bias, penalties, DRY, top-n-sigma, top-k,
    typical, top-p, min-p, XTC, temperature, draw. Samplers that would change nothing are left out.

    Where only the best tokens decide, the chain gets these alone: a list of 152,000 tokens takes half a millisecond.

    With a grammar, a token is drawn without it first and that one token checked; only a rejected one is drawn again
    from what the grammar allows, because checking a whole vocabulary costs milliseconds.

    Raises `RequestError` for a grammar that does not parse.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        sampling: Sampling,
        *,
        train_context: int,
        grammar: str | None,
        seed_offset: int = 0,
    ) -> None:
        self._chain: Any = None
        self._grammar: Any = None
        self.seed = (
            int.from_bytes(os.urandom(4), "little")
            if sampling.seed is None
            else (sampling.seed + seed_offset) & 0xFFFFFFFF
        )
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._best = best_tokens(_deciding(sampling), vocabulary.size)
        self._remembers = bool(sampling.dry_multiplier) or _penalizes(sampling)
        if grammar is not None:
            self._grammar = llama.llama_sampler_init_grammar(vocabulary.pointer, grammar.encode(), b"root")
            if not self._grammar:
                raise RequestError(
                    "The grammar does not parse.",
                    param="grammar",
                    hint="It must be GBNF with a rule named root; see grammars/README.md of llama.cpp.",
                )
        self._chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_params(no_perf=True))
        for sampler in self._samplers(sampling, train_context):
            llama.llama_sampler_chain_add(self._chain, sampler)

    def _samplers(self, s: Sampling, train_context: int) -> list[Any]:
        chain: list[Any] = []
        if s.logit_bias:
            biases = (llama.llama_logit_bias * len(s.logit_bias))(*(llama.llama_logit_bias(*b) for b in s.logit_bias))
            chain.append(llama.llama_sampler_init_logit_bias(self._vocabulary.size, len(s.logit_bias), biases))
        if _penalizes(s):
            last_n = train_context if s.repeat_last_n < 0 else s.repeat_last_n
            chain.append(
                llama.llama_sampler_init_penalties(
                    self._vocabulary.size, last_n, s.repeat_penalty, s.frequency_penalty, s.presence_penalty
                )
            )
        if s.dry_multiplier:
            breakers = [b.encode() for b in s.dry_sequence_breakers]
            array = (ctypes.c_char_p * len(breakers))(*breakers)
            chain.append(
                llama.llama_sampler_init_dry(
                    self._vocabulary.pointer,
                    s.dry_multiplier,
                    s.dry_base,
                    s.dry_allowed_length,
                    s.dry_penalty_last_n,
                    array,
                    len(breakers),
                )
            )
        if s.temperature < GREEDY_BELOW:
            return [*chain, llama.llama_sampler_init_greedy()]
        if s.top_n_sigma > 0:
            chain.append(llama.llama_sampler_init_top_n_sigma(s.top_n_sigma))
        if s.top_k > 0:
            chain.append(llama.llama_sampler_init_top_k(s.top_k))
        if s.typical_p < 1:
            chain.append(llama.llama_sampler_init_typical(s.typical_p, 1))
        if s.top_p < 1:
            chain.append(llama.llama_sampler_init_top_p(s.top_p, 1))
        if s.min_p > 0:
            chain.append(llama.llama_sampler_init_min_p(s.min_p, 1))
        if s.xtc_probability > 0:
            chain.append(llama.llama_sampler_init_xtc(s.xtc_probability, s.xtc_threshold, 1, self.seed))
        if s.temperature != 1.0:
            chain.append(llama.llama_sampler_init_temp(s.temperature))
        return [*chain, llama.llama_sampler_init_dist(self.seed)]

    def remember_prompt(self, tokens: Any) -> None:
        """Penalties and DRY count the prompt too, as llama-server's do; the grammar does not see it."""
        if self._remembers:
            for token in tokens:
                llama.llama_sampler_accept(self._chain, token)

    def sample(self, context: Any, index: int) -> int:
        """Draw a token from the logits of output `index` of the last decode, and remember it.

        Raises `RequestError` when the grammar allows no token at all (a grammar that the vocabulary cannot spell).
        """
        best = None if self._best is None else self._best.find(llama.llama_get_logits_ith(context, index))
        if self._grammar is None:
            if best is None:
                return int(llama.llama_sampler_sample(self._chain, context, index))
            token = self._draw(best)
            llama.llama_sampler_accept(self._chain, token)
            return token
        logits = llama.llama_get_logits_ith(context, index)
        token = self._draw(self._candidates(logits, ()) if best is None else best)
        banned: list[int] = []
        while not self._allowed(token):
            if len(banned) == _MOST_DRAWS:
                raise RequestError(
                    "The grammar leaves no token that this model could write.",
                    param="grammar",
                    hint="Check that every rule can end, and that the text it demands is in the model's vocabulary.",
                )
            candidates = self._candidates(logits, banned)
            llama.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
            token = self._draw(candidates)
            banned.append(token)
        llama.llama_sampler_accept(self._grammar, token)
        llama.llama_sampler_accept(self._chain, token)
        self._decoder.decode(self._vocabulary.piece(token))
        return token

    def _draw(self, candidates: Any) -> int:
        llama.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        return int(candidates.data[candidates.selected].id)

    def _allowed(self, token: int) -> bool:
        """Whether the grammar takes it, and its bytes go on with the text as UTF-8.

        llama.cpp's grammar reads a control token as the text of its name, though it shows nothing, and takes overlong
        UTF-8 that is spelled byte by byte.
        """
        one = (llama.llama_token_data * 1)(llama.llama_token_data(token, 1.0, 0.0))
        candidates = llama.llama_token_data_array(data=one, size=1, selected=-1, sorted=False)
        llama.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
        if one[0].logit == -float("inf"):
            return False
        if self._vocabulary.ends_generation(token):
            return True
        piece = self._vocabulary.piece(token)
        if not piece:
            return False
        state = self._decoder.getstate()
        try:
            self._decoder.decode(piece)
        except UnicodeDecodeError:
            return False
        finally:
            self._decoder.setstate(state)
        return True

    def _candidates(self, logits: Any, banned: Sequence[int]) -> Any:
        """A fresh candidate array over all tokens, in token order (samplers sort it in place)."""
        import numpy as np  # only constrained requests need it: 16 MB that a worker otherwise never pays

        size = self._vocabulary.size
        table = np.empty(size, dtype=[("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        table["id"] = np.arange(size, dtype=np.int32)
        table["logit"] = np.ctypeslib.as_array(logits, shape=(size,))
        table["p"] = 0
        for tokens in (banned, self._vocabulary.hidden_tokens()):
            if len(tokens):
                table["logit"][np.asarray(tokens, dtype=np.int32)] = -np.inf
        data = ctypes.cast(table.ctypes.data, ctypes.POINTER(llama.llama_token_data))
        candidates = llama.llama_token_data_array(data=data, size=size, selected=-1, sorted=False)
        candidates.keep_alive = table
        return candidates

    def close(self) -> None:
        """Free the C samplers. Safe to call twice."""
        for sampler in (self._chain, self._grammar):
            if sampler:
                llama.llama_sampler_free(sampler)
        self._chain = self._grammar = None


def _deciding(s: Sampling) -> int:
    """How many of the best tokens decide; 0 where all may."""
    if s.logit_bias or s.dry_multiplier or _penalizes(s):
        return 0
    if s.temperature < GREEDY_BELOW:
        return 1
    return s.top_k if s.top_n_sigma <= 0 else 0


def _penalizes(s: Sampling) -> bool:
    return s.repeat_last_n != 0 and (s.repeat_penalty != 1.0 or s.presence_penalty != 0 or s.frequency_penalty != 0)
