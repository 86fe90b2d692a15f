"""Text to send: English words drawn by a seed, none of it twice, so that no cache of a server has seen it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

_TEXT: Final = (
    "time year people way day man thing woman life child world school state family student group country problem "
    "hand part place case week company system program question work night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head house service friend father "
    "power hour game line end member law car city community name president team minute idea kid body information "
    "back parent face others level office door health person art war history party result change morning reason "
    "research girl guy moment air teacher force education foot boy age policy process music market sense nation "
    "plan college interest death experience effect use class control care field development role effort rate heart "
    "drug show leader light voice wife police mind price report decision son view relation town road arm difference "
    "value building action season society tax director position player record paper space ground form event "
    "official matter center couple site "
)

WORDS: Final = tuple(_TEXT.split())


class Prompts:
    """A source of texts; two with the same seed give the same ones."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def text(self, words: int) -> str:
        """`words` words, at least one."""
        return " ".join(self._draw.choices(WORDS, k=max(1, words)))

    def number(self) -> int:
        """A seed for a request."""
        return self._draw.randrange(2**31)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How many tokens a model makes of words: `tokens = fixed + per_word * words`."""

    per_word: float = 1.3
    fixed: float = 0.0

    def words(self, tokens: int) -> int:
        """How many words make about `tokens` tokens."""
        return max(1, round((tokens - self.fixed) / self.per_word))


def fit(short: tuple[int, int], long: tuple[int, int]) -> Fit:
    """The line through two measurements of (words, tokens); the usual one of English where they make no sense."""
    words, tokens = long[0] - short[0], long[1] - short[1]
    if words <= 0 or tokens <= 0:
        return Fit()
    return Fit(per_word=tokens / words, fixed=short[1] - tokens / words * short[0])
