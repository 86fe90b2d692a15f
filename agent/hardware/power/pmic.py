"""Raspberry Pi 5: the power chip's own converters, one voltage and one current for each rail that it feeds.

The sum is what the rails deliver. The USB-C input draws more, by the chip's losses and by what hangs on 5 V directly:
a USB meter beside it showed 1.13 times the sum and 0.64 W (github.com/jfikar/RPi5-power). The sum is reported as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from agent.errors import UnavailableError
from agent.hardware.command import Runner, run_command
from agent.hardware.power.meter import PowerSample, plausible

COMMAND: Final = ("vcgencmd", "pmic_read_adc")

_LINE: Final = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=(\d+\.\d+)[AV]\s*$", re.MULTILINE)
"""`VDD_CORE_A current(7)=0.75012000A`; the numbers in brackets do not pair a current with its voltage, the names do."""


def parse_rails(text: str) -> Mapping[str, float]:
    """Watts by rail, for the rails that have both a voltage and a current. `EXT5V` and `BATT` have no current."""
    amperes: dict[str, float] = {}
    volts: dict[str, float] = {}
    for rail, kind, value in _LINE.findall(text):
        (amperes if kind == "A" else volts)[rail] = float(value)
    return {rail: amperes[rail] * volts[rail] for rail in amperes if rail in volts}


class PmicMeter:
    source = "Raspberry Pi 5 power chip (vcgencmd pmic_read_adc)"
    scope = "the rails of the board, without the chip's own losses and USB devices"
    quick = True

    def __init__(self, run: Runner = run_command) -> None:
        self._run = run

    def read(self, now_s: float) -> PowerSample:
        text = self._run(COMMAND)
        if text is None:
            raise UnavailableError(
                "vcgencmd is not installed or does not answer.", hint="apt install raspi-utils, and look again."
            )
        rails = parse_rails(text)
        if "VDD_CORE" not in rails:
            said = f": {text.strip()[:80]}" if text.strip() else ""
            raise UnavailableError(
                f"vcgencmd pmic_read_adc gives no core rail{said}.",
                hint="Only a Pi 5 measures its power; its user must be in the group video.",
            )
        return PowerSample(at_s=now_s, watts=plausible(sum(rails.values()), self.source))
