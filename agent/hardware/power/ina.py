"""Jetson: INA3221 on the module and INA238 on the carrier board, through `hwmon`.

Which rails add up to the whole is known by their names: NVIDIA's developer guide, and for AGX Orin
github.com/energymon/energymon (jetson): `VDDQ_VDD2_1V8AO` is part of `VIN_SYS_5V0` and must not be added.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import UnavailableError
from agent.hardware import sysfile
from agent.hardware.power.meter import PowerSample, plausible
from agent.hardware.power.number import read_number

CHIPS: Final = ("ina3221", "ina238")

INPUTS: Final = ("VIN", "VDD_IN", "POM_5V_IN")
"""A rail that feeds all the others. The first one found counts; `VIN` is the carrier board's input on AGX Thor."""
SUMS: Final = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)


@dataclass(frozen=True)
class Rail:
    """`power` in microwatts where the chip computes it, else `volts` in millivolts times `amperes` in milliamperes:
    kernel.org, hwmon sysfs interface."""

    name: str
    power: Path | None = None
    volts: Path | None = None
    amperes: Path | None = None

    def watts(self) -> float:
        if self.power is not None:
            return read_number(self.power) / 1e6
        assert self.volts is not None
        assert self.amperes is not None
        return read_number(self.volts) * read_number(self.amperes) / 1e6


def find_rails(root: Path) -> dict[str, Rail]:
    """Rails by label. An INA238 measures one, which has no label in the mainline driver: it is called `VIN`."""
    found: dict[str, Rail] = {}
    for folder in sysfile.list_names(root / "sys/class/hwmon", "hwmon[0-9]*"):
        chip = sysfile.read_text(folder / "name")
        if chip == "ina238":
            found.setdefault("VIN", Rail("VIN", power=folder / "power1_input"))
        elif chip == "ina3221":
            for channel in (1, 2, 3):
                label = sysfile.read_text(folder / f"in{channel}_label")
                if label and sysfile.read_int(folder / f"in{channel}_enable") != 0:
                    files = folder / f"in{channel}_input", folder / f"curr{channel}_input"
                    found.setdefault(label, Rail(label, volts=files[0], amperes=files[1]))
    return found


class InaMeter:
    scope = "the whole module"
    quick = True

    def __init__(self, root: Path = Path("/")) -> None:
        """Raises `UnavailableError` where no chip is found, or none of its rails is the board's."""
        rails = find_rails(root)
        if not rails:
            raise UnavailableError(
                f"No {' or '.join(chip.upper() for chip in CHIPS)} under {root / 'sys/class/hwmon'}.",
                hint="Load the module ina3221 (JetPack 5 or later does).",
            )
        candidates: list[tuple[str, ...]] = [*((name,) for name in INPUTS), *SUMS]
        whole = next((names for names in candidates if rails.keys() >= set(names)), None)
        if whole is None:
            raise UnavailableError(f"None of the rails {', '.join(sorted(rails))} is known to be the board's input.")
        self._rails = [rails[name] for name in whole]
        if whole == ("VIN",):
            self.scope = "the whole board"
        self.source = f"{'INA238' if whole == ('VIN',) else 'INA3221'}, {' + '.join(whole)}"

    def read(self, now_s: float) -> PowerSample:
        return PowerSample(at_s=now_s, watts=plausible(sum(rail.watts() for rail in self._rails), self.source))
