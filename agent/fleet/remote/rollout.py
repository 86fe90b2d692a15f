"""A version for a fleet, stage by stage: who comes when, when to go on, when to stop. Pure.

Nothing is remembered between two looks: each decision is made from how the devices stand. So whoever runs the same
rollout anywhere goes on where the fleet is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.errors import ConfigError
from agent.fleet.remote.standing import Standing

DEVICES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Share:
    """Of some devices: `5%` or `3`, which is a number of devices."""

    value: float
    percent: bool

    @classmethod
    def parse(cls, text: str) -> Share:
        """Raises `ConfigError`."""
        number = text.strip()
        percent = number.endswith("%")
        try:
            value = float(number.removesuffix("%")) if percent else int(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= (100 if percent else DEVICES):
            raise ConfigError(f"{text[:40]!a}: expected a share like 5% or a number of devices like 3.")
        return cls(float(value), percent)

    def __str__(self) -> str:
        return f"{self.value:g}%" if self.percent else f"{self.value:.0f}"

    def exact(self, count: int) -> float:
        return count * self.value / 100 if self.percent else self.value

    def of(self, count: int) -> int:
        """So many of `count` devices: rounded up, and one at least."""
        return max(1, min(count, math.ceil(self.exact(count) - 1e-9)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`limit` is the share of the devices that were asked so far; as many failures as that stop it. Raises
    `ConfigError` for stages that do not grow."""

    model: str
    version: str
    stages: tuple[Share, ...]
    limit: Share
    wait_s: float
    urgent: bool = False
    again: bool = False
    cancel: bool = False

    def __post_init__(self) -> None:
        for before, stage in zip(self.stages, self.stages[1:], strict=False):
            if before.percent == stage.percent and before.value >= stage.value:
                raise ConfigError(f"A stage of {stage} after one of {before}: each must be larger than the one before.")
        if not self.stages or any(stage.value <= 0 for stage in self.stages):
            raise ConfigError("A stage without devices.")

    @property
    def label(self) -> str:
        return f"{self.model}@{self.version}"

    def ranked(self, names: Iterable[str]) -> list[str]:
        """In the order in which they come: by chance, but the same everywhere, and another one for each version."""
        return sorted(names, key=lambda name: hashlib.sha256(f"{self.label}\n{name}".encode()).digest())

    def stops(self, failed: int, asked: int) -> bool:
        return failed > 0 and failed >= self.limit.exact(asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """`asked`: its desired state names the version. `stage`: the one that a rollout of this version wrote there, also
    on a device that was set back. `away_s`: for how long it has been asked and not been there; None while it is."""

    name: str
    standing: Standing
    reason: str = ""
    asked: bool = False
    stage: str | None = None
    away_s: float | None = None


class Phase(StrEnum):
    GOING = "going on"
    DONE = "done"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    UNPROVEN = "unproven"
    """nobody of a stage has the version; it is not given to more devices"""

    @property
    def final(self) -> bool:
        return self is not Phase.GOING


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`stage` counts from 0. `inside` are the devices of this stage and those before, `ask` and `set_back` what is to
    be written now, `away` who is waited for, `missing` who was waited for in vain, `failed` how many of `inside`."""

    phase: Phase
    stage: int
    inside: tuple[Member, ...]
    ask: tuple[str, ...] = ()
    set_back: tuple[str, ...] = ()
    away: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    failed: int = 0


def judge(plan: Plan, members: Sequence[Member]) -> Decision:
    """`members` in the order of `Plan.ranked`."""
    last = len(plan.stages) - 1
    for stage in range(_begun(plan, members), last + 1):
        count = plan.stages[stage].of(len(members))
        inside = tuple(one for place, one in enumerate(members) if place < count or one.stage is not None)
        failed = sum(one.standing.bad for one in inside)
        if plan.cancel or plan.stops(failed, len(inside)):
            phase = Phase.CANCELLED if plan.cancel else Phase.STOPPED
            back = tuple(one.name for one in members if one.asked and _goes_back(one))
            return Decision(phase=phase, stage=stage, inside=inside, set_back=back, failed=failed)
        decision = _wait(plan, stage, inside, failed)
        if decision.phase.final or decision.ask or stage == last or _open(decision):
            return decision
    raise AssertionError("there is a last stage")


def _begun(plan: Plan, members: Sequence[Member]) -> int:
    """The latest stage that any device was asked in: those before it were passed, here or elsewhere."""
    places = {str(stage): place for place, stage in enumerate(plan.stages)}
    return max((places.get(one.stage, 0) for one in members if one.stage is not None), default=0)


def _wait(plan: Plan, stage: int, inside: tuple[Member, ...], failed: int) -> Decision:
    unsettled = [one for one in inside if not one.standing.settled]
    ask = tuple(one.name for one in unsettled if one.standing is Standing.UNASKED)
    away = tuple(one.name for one in unsettled if one.away_s is not None and one.away_s < plan.wait_s)
    missing = tuple(one.name for one in unsettled if one.away_s is not None and one.away_s >= plan.wait_s)
    phase = Phase.GOING
    if not ask and len(missing) == len(unsettled):
        proven = any(one.standing is Standing.COMMITTED for one in inside)
        phase = Phase.UNPROVEN if not proven else Phase.DONE if stage == len(plan.stages) - 1 else Phase.GOING
    bad = tuple(one.name for one in inside if one.asked and one.standing.bad) if phase.final else ()
    return Decision(
        phase=phase, stage=stage, inside=inside, ask=ask, set_back=bad, away=away, missing=missing, failed=failed
    )


def _open(decision: Decision) -> bool:
    """Whether somebody of the stage is still waited for."""
    unsettled = sum(not one.standing.settled for one in decision.inside)
    return unsettled > len(decision.missing)


def _goes_back(member: Member) -> bool:
    """What serves the version stays: it is the device's own probation that ends that."""
    return member.standing not in (Standing.COMMITTED, Standing.PROBATION)
