"""What machine this is, read from `/proc`, `/sys` and the device tree under a root, or from `sysctl` on a Mac.

Nothing here raises for what it finds: a file that is missing, forbidden or garbage leaves its field at the value that
promises least (one core, no features, no GPU).
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.hardware import cgroup, cpu, darwin, gpu, memory, sysfile
from agent.hardware.command import Runner, no_command, run_command
from agent.hardware.gpu import Gpu

PLACEHOLDERS = frozenset(
    {"", "To Be Filled By O.E.M.", "Default string", "System Product Name", "None", "Not Specified"}
)
"""What board makers leave in the DMI tables instead of a name."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """The machine. Cores are physical and online; `usable_*` counts those that this process may run on.

    `usable_cores` respects the affinity mask and the control group's CPU quota. `memory_limit_bytes` is the control
    group's. `compatible` is the device tree's list, most specific first; empty where there is no device tree.
    """

    model: str
    soc: str
    architecture: str
    system: Literal["linux", "darwin"]
    operating_system: str
    kernel: str
    compatible: tuple[str, ...] = ()
    cpu_name: str
    performance_cores: int
    efficiency_cores: int
    logical_cpus: int
    usable_cores: int
    usable_performance_cores: int
    cpu_quota: float | None = None
    cpu_features: frozenset[str]
    memory_total_bytes: int
    memory_limit_bytes: int | None = None
    gpu: Gpu | None = None
    cuda_compiler: str | None = None

    @property
    def cores(self) -> int:
        return self.performance_cores + self.efficiency_cores

    @property
    def memory_ceiling_bytes(self) -> int:
        """The most memory that this process could ever have."""
        if self.memory_limit_bytes is None:
            return self.memory_total_bytes
        return min(self.memory_total_bytes, self.memory_limit_bytes)


def detect(
    root: Path = Path("/"),
    *,
    run: Runner | None = None,
    system: str | None = None,
    affinity: Collection[int] | None = None,
) -> Board:
    """Detect the machine whose `/proc` and `/sys` are under `root`.

    Commands (`nvidia-smi`, `sysctl`) go through `run`; by default none is run for another root than `/`. `affinity`
    is the set of CPUs that this process may use, asked from the kernel only for the root `/`.
    """
    real = root == Path("/")
    run = run or (run_command if real else no_command)
    if (system or (sys.platform if real else "linux")) == "darwin":
        return _from_mac(darwin.read_mac(run))
    if affinity is None and real and hasattr(os, "sched_getaffinity"):
        affinity = os.sched_getaffinity(0)
    info = cpu.read_cpuinfo(root)
    processor = cpu.read_processor(root, info, affinity)
    reading = memory.read_memory(root, run=run, system="linux")
    compatible = sysfile.read_strings(root / "proc/device-tree/compatible") or sysfile.read_strings(
        root / "sys/firmware/devicetree/base/compatible"
    )
    quota = cgroup.cpu_quota(root)
    fast = sum(core.performance for core in processor.cores)
    usable = len(processor.usable) if quota is None else max(1, min(len(processor.usable), int(quota)))
    return Board(
        model=_model(root, info, processor),
        soc=_soc(compatible) or processor.name,
        architecture=_architecture(root, info, real),
        system="linux",
        operating_system=_operating_system(root),
        kernel=sysfile.read_text(root / "proc/sys/kernel/osrelease") or (platform.release() if real else ""),
        compatible=compatible,
        cpu_name=processor.name,
        performance_cores=fast,
        efficiency_cores=len(processor.cores) - fast,
        logical_cpus=processor.logical_cpus,
        usable_cores=usable,
        usable_performance_cores=min(usable, sum(core.performance for core in processor.usable)),
        cpu_quota=quota,
        cpu_features=processor.features,
        memory_total_bytes=reading.total_bytes,
        memory_limit_bytes=reading.limit_bytes,
        gpu=gpu.detect_gpu(root, run, compatible, reading.total_bytes),
        cuda_compiler=gpu.find_cuda_compiler(root),
    )


def _from_mac(mac: darwin.Mac) -> Board:
    return Board(
        model=mac.model,
        soc=mac.chip,
        architecture="aarch64" if mac.arm else "x86_64",
        system="darwin",
        operating_system=mac.operating_system,
        kernel=mac.kernel,
        cpu_name=mac.chip,
        performance_cores=mac.performance_cores,
        efficiency_cores=mac.efficiency_cores,
        logical_cpus=mac.logical_cpus,
        usable_cores=mac.performance_cores + mac.efficiency_cores,
        usable_performance_cores=mac.performance_cores,
        cpu_features=mac.features,
        memory_total_bytes=mac.memory_total_bytes,
        gpu=mac.gpu,
    )


def _model(root: Path, info: cpu.CpuInfo, processor: cpu.Processor) -> str:
    """The device tree's model; the Pi kernel's line in cpuinfo (in containers, which hide the tree); the DMI name."""
    for tree in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        if text := sysfile.read_text(root / tree):
            return " ".join(text.replace("\0", " ").split())
    if model := info.board.get("Model"):
        return model
    names = [sysfile.read_text(root / "sys/class/dmi/id" / name) or "" for name in ("sys_vendor", "product_name")]
    vendor, product = ("" if name in PLACEHOLDERS else name for name in names)
    return f"{vendor} {product}".strip() if product else processor.name


def _soc(compatible: tuple[str, ...]) -> str:
    """`BCM2712` out of `brcm,bcm2712`: the last entry names the chip."""
    return compatible[-1].rpartition(",")[2].upper() if compatible else ""


def _architecture(root: Path, info: cpu.CpuInfo, real: bool) -> str:
    """`uname -m` as Linux spells it: aarch64, x86_64, armv7l."""
    name = platform.machine() if real else sysfile.read_text(root / "proc/sys/kernel/arch")
    if name:
        return {"arm64": "aarch64", "AMD64": "x86_64"}.get(name, name)
    block = next(iter(info.cpus.values()), {})
    if "lm" in (block.get("flags") or "").split():
        return "x86_64"
    version = re.match(r"\d+", block.get("CPU architecture", ""))
    if version:
        return "aarch64" if int(version[0]) >= 8 else f"armv{version[0]}l"
    return "unknown"


def _operating_system(root: Path) -> str:
    for path in ("etc/os-release", "usr/lib/os-release"):
        for line in (sysfile.read_text(root / path) or "").splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME" and (name := value.strip().strip("\"'")):
                return name
    return "Linux"
