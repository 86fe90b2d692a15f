"""The processor's clock limit in cpufreq: what may be set, setting it, and giving it back as it was found.

Only root may write `scaling_max_freq`, unless the system says otherwise; where it may not be written the governor does
without. The limit is the whole machine's, so it is only lowered, never raised above what was found.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from agent.errors import UnavailableError
from agent.hardware import sysfile
from agent.hardware.governor.found_clock import FoundClock
from agent.hardware.power.number import read_number

PERMISSION: Final = "Allow it with `z /sys/devices/system/cpu/cpufreq/policy*/scaling_max_freq 0664 root edge-agent`."
_STEP_MHZ: Final = 200
_LEAST_SHARE: Final = 0.4
"""Of the full clock, where the driver lists no steps: below it a machine saves little and feels broken."""


class ClockLimit:
    """All policies of the machine (clusters of cores). On one with two kinds of cores each keeps its own proportion.

    `memory` holds what was found while it is lowered. What another process has left there is given back at once.
    """

    def __init__(self, root: Path = Path("/"), *, memory: FoundClock | None = None) -> None:
        """Raises `UnavailableError` where there is no limit or it may not be written."""
        self._memory = memory
        self._lowered = False
        self._found: dict[Path, int] = {}
        for folder in sysfile.list_names(root / "sys/devices/system/cpu/cpufreq", "policy[0-9]*"):
            self._found[folder / "scaling_max_freq"] = read_number(folder / "scaling_max_freq")
        if not self._found:
            raise UnavailableError("This machine has no cpufreq: its clock cannot be limited.")
        for file in self._found:
            if not os.access(file, os.W_OK):
                raise UnavailableError(f"{file} may not be written: the clock is left alone.", hint=PERMISSION)
        if memory is not None and (left := memory.load()):
            # Whoever raised a limit since then knows better.
            self._found = {file: max(khz, left.get(file.parent.name, 0)) for file, khz in self._found.items()}
            self.set(None)
        self._fastest = max(self._found, key=lambda file: self._found[file])

    def choices_mhz(self) -> tuple[int, ...]:
        """Clocks of the fastest cores, from what was found downwards."""
        full = self._found[self._fastest] // 1000
        listed = sysfile.read_text(self._fastest.parent / "scaling_available_frequencies") or ""
        steps = {int(word) // 1000 for word in listed.split() if word.isdecimal()}
        least = sysfile.read_int(self._fastest.parent / "cpuinfo_min_freq") or 0
        if not steps:
            lowest = max(least // 1000, int(full * _LEAST_SHARE))
            steps = {*range(full, lowest, -_STEP_MHZ), lowest}
        return tuple(sorted((mhz for mhz in steps if 0 < mhz <= full), reverse=True))

    def set(self, mhz: int | None) -> None:
        """Limit the clock; None gives back what was found. Raises `UnavailableError` where writing fails."""
        share = 1.0 if mhz is None else min(1.0, mhz * 1000 / self._found[self._fastest])
        if share < 1 and self._memory is not None and not self._lowered:
            self._memory.save({file.parent.name: khz for file, khz in self._found.items()})
        self._lowered = self._lowered or share < 1
        for file, found in self._found.items():
            try:
                file.write_text(str(int(found * share)))
            except OSError as error:
                raise UnavailableError(f"{file} cannot be written: {error}.", hint=PERMISSION) from None
        if mhz is None:
            self._lowered = False
            if self._memory is not None:
                self._memory.forget()
