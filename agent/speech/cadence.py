"""How often partial passes may come just now: the board's governor changes it while people speak."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.speech.policy import Partials


@dataclass
class Cadence:
    """`ratio` is how many times as much new sound a partial pass must cover; None: no partial passes at all."""

    ratio: float | None = 1.0

    def of(self, partials: Partials) -> Partials:
        """`partials` as they count now."""
        if self.ratio is None:
            return replace(partials, enabled=False)
        return partials if self.ratio == 1.0 else replace(partials, step_s=partials.step_s * self.ratio)
