"""A command that prints watts: any USB meter, plug or bench supply that has a program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from agent.errors import UnavailableError
from agent.hardware.command import Runner, run_command
from agent.hardware.power.meter import PowerSample, plausible

_WATTS: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(mW|W|kW)?", re.ASCII)
_UNITS: Final = {"mW": 1e-3, "": 1.0, "W": 1.0, "kW": 1e3}


def parse_watts(text: str) -> float | None:
    """`6.4`, `6.4 W`, `6400 mW`; None for anything else."""
    found = _WATTS.fullmatch(text.strip())
    return float(found[1]) * _UNITS[found[2] or ""] if found else None


class CommandMeter:
    scope = "whatever the command measures"
    quick = False

    def __init__(self, command: Sequence[str], run: Runner = run_command) -> None:
        self._command = tuple(command)
        self._run = run
        self.source = f"command {self._command[0]}"

    def read(self, now_s: float) -> PowerSample:
        text = self._run(self._command)
        if text is None:
            raise UnavailableError(f"{self._command[0]} is not installed, hangs or may not be run.")
        watts = parse_watts(text)
        if watts is None:
            raise UnavailableError(
                f"{self._command[0]} printed {text.strip()[:40]!r}.",
                hint="It must print a number of watts, or one with W, mW or kW behind it, and nothing else.",
            )
        return PowerSample(at_s=now_s, watts=plausible(watts, self.source))
