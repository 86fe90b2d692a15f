"""GPUs that llama.cpp can use here: CUDA on Jetson and on NVIDIA cards, Metal on Apple chips."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from agent.hardware import sysfile
from agent.hardware.command import Runner

MIB = 1024 * 1024

TEGRA = {
    "nvidia,tegra210": ("Tegra X1 (gm20b)", "5.3"),
    "nvidia,tegra186": ("Tegra X2 (gp10b)", "6.2"),
    "nvidia,tegra194": ("Xavier (gv11b)", "7.2"),
    "nvidia,tegra234": ("Orin (ga10b)", "8.7"),
    "nvidia,tegra264": ("Thor (gb10b)", "11.0"),
}
"""Name and CUDA compute capability by the SoC's device-tree name: developer.nvidia.com/cuda-gpus."""

SMI_FIELDS = "name,memory.total,memory.free,driver_version,compute_cap"
SMI_FIELDS_BEFORE_510 = "name,memory.total,memory.free,driver_version"
"""`compute_cap` came with driver 510; older ones refuse the whole query."""

METAL_LARGE_BYTES = 36 * 1024**3
"""From here on macOS lets the GPU wire 3/4 of the memory, below 2/3: llama.cpp's log says recommendedMaxWorkingSetSize
10922.67 MB on 16 GB, 21845.34 MB on 32 GB, 27648.00 MB on 36 GB, 49152.00 MB on 64 GB."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The largest GPU. With `unified` memory it shares the machine's RAM, and no separate memory is to be counted.

    `memory_total_bytes` is 0 where it could not be found; `memory_free_bytes` None.
    """

    kind: Literal["cuda", "metal"]
    name: str
    unified: bool
    memory_total_bytes: int = 0
    memory_free_bytes: int | None = None
    compute_capability: str = ""
    driver: str = ""
    count: int = 1


def detect_gpu(root: Path, run: Runner, compatible: tuple[str, ...], memory_total_bytes: int) -> Gpu | None:
    """The GPU of a Linux machine: a Jetson's by its device tree, a card by the NVIDIA driver; None without one."""
    for name, (title, capability) in TEGRA.items():
        if name in compatible:
            return Gpu(
                kind="cuda",
                name=title,
                unified=True,
                memory_total_bytes=memory_total_bytes,
                compute_capability=capability,
                driver=_jetson_release(root),
            )
    if sysfile.read_text(root / "proc/driver/nvidia/version") is None:
        return None
    cards = _cards(run(("nvidia-smi", f"--query-gpu={SMI_FIELDS}", "--format=csv,noheader,nounits")))
    if not cards:
        cards = _cards(run(("nvidia-smi", f"--query-gpu={SMI_FIELDS_BEFORE_510}", "--format=csv,noheader,nounits")))
    if not cards:
        return _from_proc(root)
    best = max(cards, key=lambda card: card.memory_total_bytes)
    return replace(best, count=len(cards))


def metal_gpu(name: str, memory_total_bytes: int, wired_limit_mb: int) -> Gpu:
    """The GPU of an Apple chip; `wired_limit_mb` is the sysctl `iogpu.wired_limit_mb`, 0 for the system's default."""
    share = 3 / 4 if memory_total_bytes >= METAL_LARGE_BYTES else 2 / 3
    return Gpu(
        kind="metal",
        name=name,
        unified=True,
        memory_total_bytes=wired_limit_mb * MIB if wired_limit_mb > 0 else int(memory_total_bytes * share),
    )


def find_cuda_compiler(root: Path) -> str | None:
    """Where nvcc is; JetPack and the NVIDIA packages put it outside PATH."""
    if root == Path("/") and (found := shutil.which("nvcc")):
        return found
    places = [root / "usr/local/cuda/bin/nvcc", root / "usr/bin/nvcc"]
    places += reversed(sysfile.list_names(root / "usr/local", "cuda-*/bin/nvcc"))
    for place in places:
        try:
            if place.is_file():
                return "/" + str(place.relative_to(root))
        except OSError:
            continue
    return None


def _cards(text: str | None) -> list[Gpu]:
    """Lines of `nvidia-smi --format=csv`; anything else (an error message) gives no card."""
    cards = []
    for line in (text or "").splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) not in (4, 5) or not fields[0]:
            continue
        total, free = (int(field) if field.isdecimal() else None for field in fields[1:3])
        if total is None and not fields[1].startswith("["):  # "[N/A]": a chip that shares the machine's memory
            continue
        capability = fields[4] if len(fields) == 5 and fields[4].replace(".", "", 1).isdecimal() else ""
        cards.append(
            Gpu(
                kind="cuda",
                name=fields[0],
                unified=total is None,
                memory_total_bytes=(total or 0) * MIB,
                memory_free_bytes=None if free is None else free * MIB,
                compute_capability=capability,
                driver=fields[3],
            )
        )
    return cards


def _from_proc(root: Path) -> Gpu | None:
    """Without nvidia-smi the driver still names its cards, but not their memory."""
    names = []
    for path in sysfile.list_names(root / "proc/driver/nvidia/gpus", "*/information"):
        for line in (sysfile.read_text(path) or "").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model" and value.strip():
                names.append(value.strip())
    return Gpu(kind="cuda", name=names[0], unified=False, count=len(names)) if names else None


def _jetson_release(root: Path) -> str:
    """`R36.4.3` out of `# R36 (release), REVISION: 4.3, GCID: ...`; empty where the file is missing."""
    text = sysfile.read_text(root / "etc/nv_tegra_release") or ""
    major, _, rest = text.removeprefix("# ").partition(" ")
    minor = rest.partition("REVISION:")[2].partition(",")[0].strip()
    return f"{major}.{minor}" if major.startswith("R") and minor else ""
