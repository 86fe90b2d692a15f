"""The clocks of the processor's cores, as cpufreq sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.hardware import sysfile


@dataclass(frozen=True, kw_only=True)
class Frequency:
    """Of the fastest group of cores. `limit_mhz` is what a governor or an administrator allows at present,
    `maximum_mhz` what the hardware can; None where it is not said."""

    mhz: float
    limit_mhz: float | None = None
    maximum_mhz: float | None = None


def read_frequency(root: Path = Path("/")) -> Frequency | None:
    """None without cpufreq, as in most virtual machines."""
    found = [
        Frequency(
            mhz=mhz,
            limit_mhz=_mhz(folder / "scaling_max_freq"),
            maximum_mhz=_mhz(folder / "cpuinfo_max_freq"),
        )
        for folder in sysfile.list_names(root / "sys/devices/system/cpu/cpufreq", "policy[0-9]*")
        if (mhz := _mhz(folder / "scaling_cur_freq")) is not None
    ]
    return max(found, key=lambda one: (one.maximum_mhz or 0.0, one.mhz), default=None)


def _mhz(path: Path) -> float | None:
    khz = sysfile.read_int(path)
    return None if khz is None or khz <= 0 else khz / 1000
