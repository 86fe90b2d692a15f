"""Which token may come next: openai/whisper's logit filters, on one row of logits at a time.

Pure: they take logits and what was sampled so far, and change the logits. `sampled` is without the start sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.whisper.artifact import WhisperSpec

Row = npt.NDArray[np.float32]
"""Logits of one sequence, float32 [vocab]."""


@dataclass(frozen=True)
class TimestampRules:
    """Timestamps come first, in pairs around text, and never go back (`ApplyTimestampRules`)."""

    begin: int
    eot: int
    max_initial_index: int | None

    def apply(self, logits: Row, sampled: Sequence[int]) -> None:
        if not sampled:
            logits[: self.begin] = -np.inf
            if self.max_initial_index is not None:
                logits[self.begin + self.max_initial_index + 1 :] = -np.inf
            return
        closed = self._forbid_by_pairs(logits, sampled)
        self._forbid_going_back(logits, sampled, closed)
        self._prefer_timestamps(logits)

    def _forbid_by_pairs(self, logits: Row, sampled: Sequence[int]) -> bool:
        """True if the last token is a timestamp that closes text, so that the next may open with the same one."""
        if sampled[-1] < self.begin:
            return False
        if len(sampled) < 2 or sampled[-2] >= self.begin:
            logits[self.begin :] = -np.inf
            return False
        logits[: self.eot] = -np.inf
        return True

    def _forbid_going_back(self, logits: Row, sampled: Sequence[int], closed: bool) -> None:
        last = next((token for token in reversed(sampled) if token >= self.begin), None)
        if last is not None:
            # A segment that would end where it begins is forbidden too: it can repeat for ever.
            logits[self.begin : last + (0 if closed else 1)] = -np.inf

    def _prefer_timestamps(self, logits: Row) -> None:
        """All timestamps together more likely than any one other token: then it is a timestamp."""
        timestamps = logits[self.begin :]
        top = timestamps.max(initial=-np.inf)
        if np.isneginf(top):
            return
        together = top + np.log(np.exp(timestamps - top).sum())
        if together > logits[: self.begin].max():
            logits[: self.begin] = -np.inf


@dataclass(frozen=True)
class Rules:
    """All that applies to one request."""

    suppressed: npt.NDArray[np.int64]
    suppressed_at_begin: npt.NDArray[np.int64]
    timestamps: TimestampRules | None

    def apply(self, logits: Row, sampled: Sequence[int]) -> None:
        """Sets the logits of what may not follow `sampled` to -inf, in place."""
        if not sampled:
            logits[self.suppressed_at_begin] = -np.inf
        logits[self.suppressed] = -np.inf
        if self.timestamps is not None:
            self.timestamps.apply(logits, sampled)


def rules_for(spec: WhisperSpec, *, timestamps: bool) -> Rules:
    """Besides the model's own lists, tokens that only ever stand in a prompt are suppressed, as openai/whisper does."""
    tokens = spec.tokens
    prompt_only = {tokens.sot, tokens.sot_lm, tokens.sot_prev, tokens.transcribe, tokens.translate, tokens.no_speech}
    suppressed = {*spec.suppress_tokens, *prompt_only}
    timestamp_rules = None
    if timestamps and tokens.timestamp_begin is not None:
        suppressed.add(tokens.no_timestamps)
        timestamp_rules = TimestampRules(tokens.timestamp_begin, tokens.eot, spec.max_initial_timestamp_index)
    return Rules(
        suppressed=np.array(sorted(token for token in suppressed if token is not None), dtype=np.int64),
        suppressed_at_begin=np.array(sorted(set(spec.begin_suppress_tokens)), dtype=np.int64),
        timestamps=timestamp_rules,
    )


def probabilities(logits: Row, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
    """Softmax over `tokens` alone, float32 [len(tokens)]."""
    chosen = logits[np.asarray(tokens, dtype=np.int64)]
    weights = np.exp(chosen - chosen.max())
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def log_probability(logits: Row, token: int) -> float:
    """Natural logarithm of the softmax of `logits` at `token`."""
    top = logits.max()
    return float(logits[token] - top) - float(np.log(np.exp(logits - top).sum()))
