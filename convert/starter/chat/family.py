"""A family of requests: many wordings that ask for the same kind of action."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from convert.starter.chat.numbers import Said
from convert.starter.chat.pattern import draw, fill
from convert.starter.chat.vocabulary import Action, action

Slot = Callable[[random.Random], Said]
"""Draws how something is said and the fields of the action that it means."""

HELD_OUT: Final = "~"
"""Before a wording that is never trained on: it measures what the model makes of words it was not taught."""


@dataclass(frozen=True)
class Request:
    """`text` is the request without politeness or slips; `copied` are words of it that the action repeats as they are.

    `family` names where it comes from.
    """

    text: str
    action: Action
    family: str
    copied: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Family:
    """`wordings` are patterns; `fixed` are the fields of the action that do not depend on slots.

    `polite` where "please" and "could you" go before it. `weight` is how often it comes, against the others.
    """

    name: str
    wordings: tuple[str, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    polite: bool = True
    weight: float = 1.0

    def taught(self) -> tuple[str, ...]:
        return tuple(wording for wording in self.wordings if not wording.startswith(HELD_OUT))

    def held_out(self) -> tuple[str, ...]:
        return tuple(wording.removeprefix(HELD_OUT) for wording in self.wordings if wording.startswith(HELD_OUT))

    def draw(self, rng: random.Random, slots: Mapping[str, Slot], *, held_out: bool = False) -> Request:
        """One request; with `held_out` one of a wording that is never trained on."""
        text = draw(rng.choice(self.held_out() if held_out else self.taught()), rng)
        fields: dict[str, Any] = dict(self.fixed)
        copied: set[str] = set()

        def value(name: str) -> str:
            said, meant = slots[name](rng)
            fields.update(meant)
            if isinstance(meant.get("value"), str):
                copied.update(said.lower().split())
            return said

        text = fill(text, value)
        return Request(text, action(**fields), self.name, frozenset(copied))
