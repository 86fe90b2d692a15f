"""Requests with the actions they mean, for training and for judging; never the same sentence in both."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Final

from convert.starter.chat.devices import DEVICES
from convert.starter.chat.family import Family, Request
from convert.starter.chat.house import HOUSE
from convert.starter.chat.household import HOUSEHOLD
from convert.starter.chat.media import MEDIA
from convert.starter.chat.questions import QUESTIONS
from convert.starter.chat.slots import SLOTS
from convert.starter.chat.split import is_held_out

FAMILIES: Final[tuple[Family, ...]] = (*DEVICES, *HOUSE, *HOUSEHOLD, *MEDIA, *QUESTIONS)
BY_NAME: Final = {family.name: family for family in FAMILIES}
_CHECKS: Final = tuple(family for family in FAMILIES if family.fixed.get("action") == "check")
_MOST_DRAWS: Final = 10_000


def _choose(families: tuple[Family, ...], rng: random.Random) -> Family:
    weights = list(accumulate(family.weight for family in families))
    return rng.choices(families, cum_weights=weights)[0]


def taught(rng: random.Random, *, check: bool = False) -> Request:
    """A request to train on; with `check` a question."""
    while True:
        request = _choose(_CHECKS if check else FAMILIES, rng).draw(rng, SLOTS)
        if not is_held_out(request.text):
            return request


def held_out(rng: random.Random, *, wording: bool = False) -> Request:
    """A request that training never draws: a sentence kept back, or with `wording` a whole way of saying it."""
    for _ in range(_MOST_DRAWS):
        family = _choose(FAMILIES, rng)
        if wording and family.held_out():
            return family.draw(rng, SLOTS, held_out=True)
        request = family.draw(rng, SLOTS)
        if not wording and is_held_out(request.text):
            return request
    raise AssertionError("no sentence is held out")
