"""Apple: `powermetrics`, which needs root and measures over half a second."""

from __future__ import annotations

import re
from typing import Final

from agent.errors import UnavailableError
from agent.hardware.command import Runner, run_command
from agent.hardware.power.meter import PowerSample, plausible

COMMAND: Final = ("powermetrics", "--samplers", "cpu_power,gpu_power", "-n", "1", "-i", "500")
INTEL_COMMAND: Final = ("powermetrics", "--samplers", "cpu_power", "-n", "1", "-i", "500")

_LINES: Final = (
    re.compile(r"^Combined Power \(CPU \+ GPU \+ ANE\): (\d+) mW\s*$", re.MULTILINE),
    re.compile(r"^Package Power: (\d+) mW\s*$", re.MULTILINE),  # macOS 11, M1
    re.compile(r"^Intel energy model derived package power \(CPUs\+GT\+SA\): (\d+\.\d+)W\s*$", re.MULTILINE),
)


def parse_watts(text: str) -> float | None:
    """The power of the chip, from whichever line this version of macOS prints."""
    for pattern in _LINES:
        found = pattern.search(text)
        if found:
            return float(found[1]) / (1 if "." in found[1] else 1000)
    return None


class PowermetricsMeter:
    source = "powermetrics"
    scope = "the chip: processor, graphics and neural engine (an estimate of Apple's)"
    quick = False

    def __init__(self, run: Runner = run_command, *, intel: bool = False) -> None:
        self._run = run
        self._command = INTEL_COMMAND if intel else COMMAND

    def read(self, now_s: float) -> PowerSample:
        text = self._run(self._command)
        if text is None:
            raise UnavailableError("powermetrics is not installed or does not answer.")
        watts = parse_watts(text)
        if watts is None:
            said = f" It says: {text.strip()[:80]}" if text.strip() else ""
            raise UnavailableError(
                f"powermetrics gives no power.{said}", hint="It needs root: run edge-agent as a launch daemon."
            )
        return PowerSample(at_s=now_s, watts=plausible(watts, self.source))
