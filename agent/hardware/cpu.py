"""The processor: which cores there are, which of them are fast, which instructions they have, which we may use."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from agent.hardware import sysfile

PARTS = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD49: "Neoverse-N2",
    0xD4B: "Cortex-A78C",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
}
"""Part numbers of implementer 0x41 (Arm): Linux, `arch/arm64/include/asm/cputype.h`."""

SMALL_PARTS = frozenset({0xD03, 0xD04, 0xD05, 0xD46, 0xD80})
"""Arm's in-order cores: efficiency cores wherever they share a chip with another part."""

EFFICIENCY_CAPACITY = 0.6
"""A core with less than this share of the largest `cpu_capacity` is an efficiency core: Cortex-A55 beside A76 has 0.4,
the middle cluster of three-cluster chips 0.7 and more."""

EFFICIENCY_FREQUENCY = 0.7
"""The same for the maximum clock, used where nothing else tells: favored cores of one kind differ by 10% at most."""


@dataclass(frozen=True, kw_only=True)
class Core:
    """One physical core: its hardware threads by number, and whether it is one of the fast ones."""

    cpus: tuple[int, ...]
    performance: bool


@dataclass(frozen=True, kw_only=True)
class Processor:
    """`features` are the kernel's names (`avx2`, `asimddp`) that every core has; `usable` the cores that we may use."""

    name: str
    parts: tuple[str, ...]
    features: frozenset[str]
    cores: tuple[Core, ...]
    usable: tuple[Core, ...]

    @property
    def logical_cpus(self) -> int:
        return sum(len(core.cpus) for core in self.cores)


@dataclass(frozen=True)
class CpuInfo:
    """`/proc/cpuinfo`: one block of fields per CPU (keyed by its number), and the fields that stand outside."""

    cpus: dict[int, dict[str, str]]
    board: dict[str, str]


def read_cpuinfo(root: Path) -> CpuInfo:
    """Parse `/proc/cpuinfo`; lines that are not `key: value` are skipped."""
    cpus: dict[int, dict[str, str]] = {}
    board: dict[str, str] = {}
    block: dict[str, str] | None = None
    for line in (sysfile.read_text(root / "proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not colon:
            block = None if not line.strip() else block
        elif key == "processor" and value.isdecimal():
            block = cpus.setdefault(int(value), {})
        elif key in ("Hardware", "Revision", "Serial", "Model") or block is None:
            board[key] = value
        else:
            block[key] = value
    return CpuInfo(cpus, board)


def read_processor(root: Path, info: CpuInfo, affinity: Collection[int] | None) -> Processor:
    """The processor of the machine whose `/proc` and `/sys` are under `root`; never without any core.

    `affinity` holds the CPUs that this process may run on, or None where that is not limited.
    """
    folder = root / "sys/devices/system/cpu"
    online = sysfile.parse_cpu_list(sysfile.read_text(folder / "online")) or tuple(sorted(info.cpus)) or (0,)
    fast = _fast_cpus(root, info, online)
    cores = _cores(folder, info, online, fast)
    usable = cores
    if affinity is not None:
        allowed = frozenset(affinity)
        usable = tuple(core for core in cores if allowed.intersection(core.cpus)) or cores[:1]
    blocks = list(info.cpus.values())
    feature_sets = [frozenset((b.get("flags") or b.get("Features") or "").split()) for b in blocks]
    parts = tuple(dict.fromkeys(_part_name(block) for block in blocks if "CPU part" in block))
    model = next((b["model name"] for b in blocks if b.get("model name")), "")
    return Processor(
        name=" + ".join(parts) or " ".join(model.split()) or "unknown processor",
        parts=parts,
        features=frozenset.intersection(*feature_sets) if feature_sets else frozenset(),
        cores=cores,
        usable=usable,
    )


def _part_name(block: dict[str, str]) -> str:
    part = _hexadecimal(block.get("CPU part", ""))
    if _hexadecimal(block.get("CPU implementer", "")) == 0x41 and part in PARTS:
        return PARTS[part]
    return f"part {block.get('CPU implementer', '?')}:{block['CPU part']}"


def _hexadecimal(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return -1


def _cores(folder: Path, info: CpuInfo, online: tuple[int, ...], fast: frozenset[int]) -> tuple[Core, ...]:
    """Group CPUs that are hardware threads of one core: by the sysfs topology, else by `core id` of cpuinfo."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for cpu in online:
        topology = folder / f"cpu{cpu}/topology"
        siblings = sysfile.parse_cpu_list(
            sysfile.read_text(topology / "core_cpus_list") or sysfile.read_text(topology / "thread_siblings_list")
        )
        block = info.cpus.get(cpu, {})
        if siblings and cpu in siblings:
            key: tuple[object, ...] = ("siblings", siblings[0])
        elif "core id" in block:
            key = ("id", block.get("physical id", "0"), block["core id"])
        else:
            key = ("cpu", cpu)
        groups.setdefault(key, []).append(cpu)
    return tuple(Core(cpus=tuple(cpus), performance=cpus[0] in fast) for cpus in groups.values())


def _fast_cpus(root: Path, info: CpuInfo, online: tuple[int, ...]) -> frozenset[int]:
    """The performance CPUs; all of them on a machine with one kind of core.

    In order: Intel's hybrid lists (`/sys/devices/cpu_core`), the scheduler's `cpu_capacity`, Arm part numbers, the
    maximum clock.
    """
    everything = frozenset(online)
    core_list = sysfile.parse_cpu_list(sysfile.read_text(root / "sys/devices/cpu_core/cpus"))
    if core_list and everything.intersection(core_list):
        return everything.intersection(core_list)
    folder = root / "sys/devices/system/cpu"
    capacity = {cpu: sysfile.read_int(folder / f"cpu{cpu}/cpu_capacity") for cpu in online}
    if len(set(capacity.values())) > 1:
        return _above(capacity, EFFICIENCY_CAPACITY)
    part = {cpu: _hexadecimal(info.cpus.get(cpu, {}).get("CPU part", "")) for cpu in online}
    if len(set(part.values())) > 1:
        return frozenset(cpu for cpu in online if part[cpu] not in SMALL_PARTS) or everything
    clock = {cpu: sysfile.read_int(folder / f"cpu{cpu}/cpufreq/cpuinfo_max_freq") for cpu in online}
    return _above(clock, EFFICIENCY_FREQUENCY)


def _above(values: dict[int, int | None], share: float) -> frozenset[int]:
    """CPUs with at least `share` of the largest value; one without a value counts as fast."""
    largest = max((value or 0 for value in values.values()), default=0)
    return frozenset(cpu for cpu, value in values.items() if value is None or value >= share * largest)
