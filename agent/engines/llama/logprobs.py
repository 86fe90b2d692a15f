"""Log-probabilities of tokens under the model's own distribution, before any sampler."""

from __future__ import annotations

from typing import Any

from agent.engines.llama.library import llama
from agent.engines.llama.vocabulary import Vocabulary
from agent.runtime.wire.generation import TokenLogprob


def token_logprob(context: Any, output: int, token: int, alternatives: int, vocabulary: Vocabulary) -> TokenLogprob:
    """`token`'s log-probability (natural log) at batch index `output`, with the `alternatives` most likely ones."""
    import numpy as np  # only for requests that ask: 16 MB that a worker otherwise never pays

    logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, output), shape=(vocabulary.size,))
    top = float(logits.max())
    log_total = top + float(np.log(np.exp(logits - top, dtype=np.float64).sum()))
    count = min(alternatives, vocabulary.size)
    best = np.argpartition(logits, -count)[-count:] if count else np.empty(0, dtype=np.int64)
    best = best[np.argsort(-logits[best], kind="stable")]
    return TokenLogprob(
        token=token,
        piece=vocabulary.piece(token),
        logprob=float(logits[token]) - log_total,
        top=tuple((int(t), vocabulary.piece(int(t)), float(logits[t]) - log_total) for t in best),
    )
