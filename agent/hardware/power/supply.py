"""Where the power comes from: the mains, or a battery and how full it is. `/sys/class/power_supply`, kernel.org."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.hardware import sysfile

_MAINS: Final = frozenset({"Mains", "USB", "UPS", "Wireless"})


@dataclass(frozen=True, kw_only=True)
class Supply:
    """`on_mains` is None where the machine does not say, as on most boards. `battery_percent` is the emptiest one's."""

    on_mains: bool | None = None
    battery_percent: float | None = None


def batteries(root: Path) -> list[Path]:
    """The machine's own batteries, not those of a mouse (`scope` Device)."""
    return [
        folder
        for folder in sysfile.list_names(root / "sys/class/power_supply", "*")
        if sysfile.read_text(folder / "type") == "Battery"
        and sysfile.read_text(folder / "scope") != "Device"
        and sysfile.read_int(folder / "present") != 0
    ]


def read_supply(root: Path = Path("/")) -> Supply:
    """A discharging battery outweighs what a charger says; without any battery only a charger tells."""
    found = batteries(root)
    percents = [percent for folder in found if (percent := sysfile.read_int(folder / "capacity")) is not None]
    states = {sysfile.read_text(folder / "status") for folder in found}
    chargers = [
        online
        for folder in sysfile.list_names(root / "sys/class/power_supply", "*")
        if sysfile.read_text(folder / "type") in _MAINS and (online := sysfile.read_int(folder / "online")) is not None
    ]
    on_mains: bool | None = None
    if "Discharging" in states:
        on_mains = False
    elif states & {"Charging", "Full", "Not charging"} or any(chargers):
        on_mains = True
    elif found and chargers:
        on_mains = False
    emptiest = min((float(value) for value in percents if 0 <= value <= 100), default=None)
    return Supply(on_mains=on_mains, battery_percent=emptiest)
