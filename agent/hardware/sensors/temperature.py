"""How hot the processor is: Linux's thermal zones, else the chips under `hwmon` (x86 without ACPI zones)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.hardware import sysfile

PLAUSIBLE_CELSIUS: Final = (-40.0, 150.0)
"""Outside of it no silicon works; switched-off sensors report -256 or -274 °C (Jetson's GPU zone)."""

_PROCESSOR: Final = re.compile(r"cpu|soc|x86_pkg_temp|tj", re.IGNORECASE)
"""Zones: `cpu-thermal` (Pi, Orin), `CPU-therm` (Xavier), `soc0-thermal` and `tj-thermal` (Orin), `x86_pkg_temp`."""
_CHIPS: Final = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal"})


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """`celsius` is the hottest of the processor's zones; without any that is called so, of all of them."""

    celsius: float
    zones: Mapping[str, float]
    """By the kernel's name; a second one of the same name has `-1` behind it, and so on."""


def read_temperature(root: Path = Path("/")) -> Temperature | None:
    """None where the machine under `root` has no sensor that makes sense."""
    zones = _zones(root) or _chips(root)
    if not zones:
        return None
    own = [celsius for name, celsius in zones.items() if _PROCESSOR.search(name)]
    return Temperature(celsius=max(own or zones.values()), zones=zones)


def _zones(root: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for folder in sysfile.list_names(root / "sys/class/thermal", "thermal_zone[0-9]*"):
        _add(found, sysfile.read_text(folder / "type") or folder.name, sysfile.read_int(folder / "temp"))
    return found


def _chips(root: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for folder in sysfile.list_names(root / "sys/class/hwmon", "hwmon[0-9]*"):
        name = sysfile.read_text(folder / "name")
        if name in _CHIPS:
            for file in sysfile.list_names(folder, "temp[0-9]*_input"):
                _add(found, f"cpu-{name}", sysfile.read_int(file))
    return found


def _add(found: dict[str, float], name: str, millidegrees: int | None) -> None:
    if millidegrees is None:
        return
    celsius = millidegrees / 1000
    if PLAUSIBLE_CELSIUS[0] < celsius < PLAUSIBLE_CELSIUS[1]:
        count = sum(other == name or other.startswith(f"{name}-") for other in found)
        found[f"{name}-{count}" if count else name] = celsius
