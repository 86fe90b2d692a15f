"""x86: the processor's energy counters (RAPL) in `/sys/class/powercap`, in microjoules, that wrap around.

`package-N` holds cores and integrated graphics, not memory; `dram` below it is added (github.com/powercap/powercap
issue 3). `psys`, the whole platform, is left alone: boards that do not wire it show nonsense. Since Linux 5.10 only
root may read the counters (CVE-2020-8694).
"""

from __future__ import annotations

from pathlib import Path

from agent.errors import UnavailableError
from agent.hardware import sysfile
from agent.hardware.power.counter import Counter, Speed
from agent.hardware.power.meter import PowerSample
from agent.hardware.power.number import read_number

PERMISSION = (
    "Since Linux 5.10 only root may. A line `z /sys/class/powercap/intel-rapl*/energy_uj 0440 root edge-agent` in"
    " /etc/tmpfiles.d allows it to the service; the counters tell an attacker something of what the processor does."
)


class RaplMeter:
    quick = True

    def __init__(self, root: Path = Path("/")) -> None:
        """Raises `UnavailableError` where there are no counters."""
        self._zones: list[tuple[Path, Counter]] = []
        names = []
        for folder in sysfile.list_names(root / "sys/class/powercap", "intel-rapl:*"):
            name = sysfile.read_text(folder / "name") or ""
            if name.startswith("package-") or name == "dram":
                limit = sysfile.read_int(folder / "max_energy_range_uj")
                self._zones.append((folder / "energy_uj", Counter(limit / 1e6 if limit else None)))
                names.append(name)
        if not any(name.startswith("package-") for name in names):
            raise UnavailableError(
                f"No RAPL counters under {root / 'sys/class/powercap'}.",
                hint="Virtual machines have none; elsewhere: modprobe intel_rapl_msr.",
            )
        self._speed = Speed()
        self.source = f"RAPL, {' + '.join(names)}"
        self.scope = "the processor and its memory" if "dram" in names else "the processor"

    def read(self, now_s: float) -> PowerSample:
        values = [read_number(file, permission=PERMISSION) / 1e6 for file, _ in self._zones]
        joules = sum(counter.advance(value, now_s) for (_, counter), value in zip(self._zones, values, strict=True))
        return PowerSample(at_s=now_s, watts=self._speed.watts(joules, now_s), joules=joules)
