"""A battery that discharges feeds the whole machine: what it gives is what the machine draws."""

from __future__ import annotations

from pathlib import Path

from agent.errors import UnavailableError
from agent.hardware import sysfile
from agent.hardware.power.meter import PowerSample, plausible
from agent.hardware.power.number import read_number
from agent.hardware.power.supply import batteries


def battery_watts(folder: Path) -> float:
    """`power_now` in microwatts, or `current_now` in microamperes times `voltage_now` in microvolts; drivers disagree
    about the sign of a discharge. Raises `UnavailableError` where neither can be read."""
    if sysfile.read_int(folder / "power_now") is not None:
        return abs(read_number(folder / "power_now")) / 1e6
    return abs(read_number(folder / "current_now")) * read_number(folder / "voltage_now") / 1e12


class BatteryMeter:
    source = "battery"
    scope = "the whole machine"
    quick = True

    def __init__(self, root: Path = Path("/")) -> None:
        """Raises `UnavailableError` on a machine without a battery."""
        self._folders = batteries(root)
        if not self._folders:
            raise UnavailableError("This machine has no battery.")

    def read(self, now_s: float) -> PowerSample:
        """Raises `UnavailableError` on the mains too: a battery says nothing of the power then."""
        discharging = [folder for folder in self._folders if sysfile.read_text(folder / "status") == "Discharging"]
        if not discharging:
            raise UnavailableError("The battery is not discharging: what the machine draws cannot be seen there.")
        watts = sum(battery_watts(folder) for folder in discharging)
        return PowerSample(at_s=now_s, watts=plausible(watts, self.source))
