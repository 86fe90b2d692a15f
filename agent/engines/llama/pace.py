"""How much of a prompt to compute per step, so that running streams keep their rhythm. Decisions only.

A step of a running batch that also carries prompt tokens takes longer, and every stream waits for it. The cost of both
parts is learned from the steps themselves, because it depends on the board, the model, the threads and the heat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_STEP_RATIO = 2.8
"""A step with prompt tokens in it may take this many times as long as one without."""
LONGEST_PREFILL_STEP_S = 0.35
"""With no stream running: how long a newcomer may wait for the step that is under way."""
_SMALLEST_CHUNK_TOKENS = 8
_SMALLEST_LONE_CHUNK_TOKENS = 32
_WEIGHT = 0.25


class Pace:
    """Running estimates of step times: a step takes `step_s` for its streams and `token_s` more per prompt token.

    A step's fixed part is that of decoding, where reading the weights takes the time. A prompt token costs more in the
    small chunks beside streams than in the large ones of a prompt alone (twice as much on two x86 cores, where small
    batches use slower kernels), so both are learned apart.
    """

    def __init__(self) -> None:
        self._step_s: dict[int, float] = {}
        self._token_s: dict[bool, float] = {}
        """By whether streams were running."""

    def observe(self, *, decoding: int, prefill_tokens: int, seconds: float) -> None:
        """Learn from a finished step: `decoding` streams advanced by one token, `prefill_tokens` of prompts."""
        if prefill_tokens == 0:
            self._step_s[decoding] = _blend(self._step_s.get(decoding), seconds)
        elif prefill_tokens >= _SMALLEST_CHUNK_TOKENS:
            marginal = max(seconds - self.step_s(decoding), seconds * 0.2)
            beside = decoding > 0
            self._token_s[beside] = _blend(self._token_s.get(beside), marginal / prefill_tokens)

    def step_s(self, decoding: int) -> float:
        """Expected time of a step with `decoding` streams (at least one) and no prompt; 0 when nothing is known."""
        if not self._step_s:
            return 0.0
        return self._step_s[min(self._step_s, key=lambda known: abs(known - decoding))]

    def expected_s(self, *, decoding: int, prefill_tokens: int) -> float:
        """How long such a step should take; 0 when too little is known."""
        token_s = self._token_s.get(decoding > 0)
        if prefill_tokens and token_s is None:
            return 0.0
        return self.step_s(decoding) + prefill_tokens * (token_s or 0.0)

    def prefill_tokens(self, *, decoding: int, limit: int) -> int:
        """Prompt tokens for the next step, between 1 and `limit`."""
        fixed = self.step_s(decoding)
        smallest = _SMALLEST_CHUNK_TOKENS if decoding else _SMALLEST_LONE_CHUNK_TOKENS
        token_s = self._token_s.get(decoding > 0)
        if token_s is None:
            return min(smallest, limit)
        room_s = fixed * (LONGEST_STEP_RATIO - 1) if decoding else LONGEST_PREFILL_STEP_S - fixed
        return min(limit, max(smallest, int(room_s / token_s)))


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + _WEIGHT * (new - old)


@dataclass(frozen=True)
class Work:
    """A running sequence: tokens still to compute before its next one can be drawn (1 when it is decoding)."""

    key: int
    remaining: int
    most: int
    """At most this many in one step (fewer where each needs logits)."""


def share_step(work: Sequence[Work], *, batch_tokens: int, pace: Pace) -> list[tuple[int, int]]:
    """`(key, tokens)` for the next step: every decoding sequence, then prompts.

    `work` is oldest first. Of the room for prompts the oldest has half for itself; then the shortest come first, so
    that a short question does not wait behind a long document, and the oldest takes what is left.
    """
    decoding = [w for w in work if w.remaining == 1]
    prompts = [w for w in work if w.remaining > 1]
    shares = [(w.key, 1) for w in decoding[:batch_tokens]]
    if not prompts or len(shares) == batch_tokens:
        return shares
    room = pace.prefill_tokens(decoding=len(decoding), limit=batch_tokens - len(shares))
    oldest = prompts[0]
    given = {oldest.key: min(_wanted(oldest), (room + 1) // 2)}
    room -= given[oldest.key]
    for item in sorted(prompts[1:], key=_wanted):
        given[item.key] = min(_wanted(item), room)
        room -= given[item.key]
    given[oldest.key] += min(_wanted(oldest) - given[oldest.key], room)
    return shares + [(w.key, given[w.key]) for w in prompts if given[w.key]]


def _wanted(work: Work) -> int:
    return min(work.remaining, work.most)
