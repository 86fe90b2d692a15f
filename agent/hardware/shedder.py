"""When to turn work away because memory does not suffice, and when to take it again. Decisions only.

A machine that swaps, or reads its models' weights from the disk again and again, does each thing so slowly that nothing
is ever finished; one request fewer helps all others. It is told by the kernel's pressure stall information where there
is any, by the workers' major page faults, and by what they read from the disk though they are loaded. A 0.4 GB model
with three quarters of that in memory made 0.25 tokens/s while the kernel counted 2 major faults a second, and 12% of
memory pressure: it read 90 MB/s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STANDSTILL_PERCENT: Final = 20.0
"""Of the last 10 s, in which nothing at all went on for want of memory. systemd-oomd kills at 60% over 30 s."""
STALL_PERCENT: Final = 40.0
"""The same for anything; counts only if our workers are among those that wait."""
OURS_PER_S: Final = 20.0
BLIND_PER_S: Final = 250.0
"""Without pressure information (Raspberry Pi OS boots with psi=0): a page of an SD card takes 2 to 4 ms, so that
this many take all of the time."""
REREAD_BYTES_PER_S: Final = 10e6
"""A quarter of what an SD card can; nothing is read where weights stay in memory."""
CALM_REREAD_BYTES_PER_S: Final = 2e6
CALM_STANDSTILL_PERCENT: Final = 5.0
CALM_STALL_PERCENT: Final = 15.0
CALM_BLIND_PER_S: Final = 50.0
LOOKS: Final = 2
"""So many bad looks in a row: a model that is loaded, or a moment of reclaim, is nothing yet."""
CALM_S: Final = 10.0
FIRST_RETRY_S: Final = 10.0
LONGEST_RETRY_S: Final = 60.0
RELAPSE_S: Final = 300.0
CLEAR_S: Final = 6.0
"""If it lasts for so long, models that nobody uses are unloaded."""


@dataclass(frozen=True, kw_only=True)
class Strain:
    """At `now_s` (monotonic). Percentages are of the last 10 s, the worst of the machine and of our control group; None
    where the kernel does not tell. `stall` and `standstill` are waits for memory of anything and of everything.
    Of all workers that serve, since the last look: `faults_per_s` are major faults,
    `reread_bytes_per_s` what they read from a disk, once they had read as much as they hold."""

    now_s: float
    stall_percent: float | None = None
    standstill_percent: float | None = None
    faults_per_s: float = 0.0
    reread_bytes_per_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`shed`: turn new work away, for `reason`, and have it try again after `retry_after_s`. `clear`: unload models
    that nobody uses."""

    shed: bool = False
    reason: str = ""
    retry_after_s: float = 0.0
    clear: bool = False


class Shedder:
    """Call `advance` every two seconds."""

    def __init__(self) -> None:
        self._bad_looks = 0
        self._since_s: float | None = None
        self._calm_since_s: float | None = None
        self._ended_s = float("-inf")
        self._retry_s = FIRST_RETRY_S
        self._reason = ""

    def advance(self, strain: Strain) -> Verdict:
        found = trouble(strain)
        self._bad_looks = self._bad_looks + 1 if found else 0
        self._reason = found or self._reason
        if self._since_s is None:
            if self._bad_looks >= LOOKS:
                self._begin(strain.now_s)
        else:
            self._watch(strain)
        if self._since_s is None:
            return Verdict()
        lasting = bool(found) and strain.now_s - self._since_s >= CLEAR_S
        return Verdict(shed=True, reason=self._reason, retry_after_s=self._retry_s, clear=lasting)

    def _begin(self, now_s: float) -> None:
        relapse = now_s - self._ended_s < RELAPSE_S
        self._retry_s = min(LONGEST_RETRY_S, self._retry_s * 2) if relapse else FIRST_RETRY_S
        self._since_s, self._calm_since_s = now_s, None

    def _watch(self, strain: Strain) -> None:
        """End it after it has been calm for a while."""
        if not calm(strain):
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = strain.now_s
        elif strain.now_s - self._calm_since_s >= CALM_S:
            self._since_s, self._ended_s, self._bad_looks = None, strain.now_s, 0


def trouble(strain: Strain) -> str:
    """What is wrong, as a clause; empty if all is well."""
    stall, standstill, faults = strain.stall_percent, strain.standstill_percent, strain.faults_per_s
    if standstill is not None and standstill >= STANDSTILL_PERCENT:
        return f"everything here waited for memory {standstill:.0f}% of the last 10 s"
    if stall is not None and stall >= STALL_PERCENT and faults >= OURS_PER_S:
        return f"models waited for memory {stall:.0f}% of the last 10 s"
    if strain.reread_bytes_per_s >= REREAD_BYTES_PER_S:
        return f"models are read from the disk again and again, {strain.reread_bytes_per_s / 1e6:.0f} MB/s"
    if stall is None and faults >= BLIND_PER_S:
        return f"models wait for the disk {faults:.0f} times a second"
    return ""


def calm(strain: Strain) -> bool:
    if strain.reread_bytes_per_s >= CALM_REREAD_BYTES_PER_S:
        return False
    if strain.stall_percent is None:
        return strain.faults_per_s < CALM_BLIND_PER_S
    return strain.stall_percent < CALM_STALL_PERCENT and (strain.standstill_percent or 0.0) < CALM_STANDSTILL_PERCENT
