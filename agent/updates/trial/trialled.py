"""What is known of a candidate during its trial."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from agent.runtime.candidate import Candidate, Moment
from agent.runtime.spec import ModelSpec
from agent.store.layout import StoredModel
from agent.updates.parts import Health, Limits
from agent.updates.trial.golden import Case, Gates
from agent.updates.trial.judge import Measured

RETURN_FACTOR: Final = 2.0
RETURN_SPARE_S: Final = 2.0
"""The version that runs is back after its load time, by this factor and so much more, before a request gives up."""


@dataclass
class Trialled:
    """What is known during one trial."""

    candidate: StoredModel
    spec: ModelSpec
    gates: Gates
    golden: tuple[Case, ...]
    limits: Limits
    give_up: float
    notes: list[str] = field(default_factory=list)
    before: Health = field(default_factory=Health)
    running: Measured | None = None
    return_s: float = RETURN_SPARE_S
    began: Moment = field(default_factory=Moment)
    introduced: Candidate | None = None

    @property
    def name(self) -> str:
        return self.candidate.name

    @property
    def left_s(self) -> float:
        return self.give_up - time.monotonic()

    def learn_return(self, load_s: float) -> None:
        """How long the version that runs was loaded for."""
        self.return_s = RETURN_FACTOR * load_s + RETURN_SPARE_S


class UnfitError(Exception):
    """The candidate has failed by its own doing; the text is the reason."""
