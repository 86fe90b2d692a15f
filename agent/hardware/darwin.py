"""A Mac, as `sysctl` describes it."""

from __future__ import annotations

from dataclasses import dataclass

from agent.hardware import gpu
from agent.hardware.command import Runner
from agent.hardware.gpu import Gpu

COMMAND = ("sysctl", "hw", "machdep.cpu", "kern.osproductversion", "kern.osrelease", "iogpu.wired_limit_mb")


@dataclass(frozen=True, kw_only=True)
class Mac:
    """`features` are the names under `hw.optional.arm` (`FEAT_DotProd`) or Intel's, in lower case."""

    model: str
    chip: str
    arm: bool
    operating_system: str
    kernel: str
    performance_cores: int
    efficiency_cores: int
    logical_cpus: int
    features: frozenset[str]
    memory_total_bytes: int
    gpu: Gpu | None


def read_mac(run: Runner) -> Mac:
    """Ask `sysctl`; what it does not say is left at the value that promises least."""
    values = dict(_lines(run(COMMAND) or ""))

    def number(name: str) -> int:
        text = values.get(name, "")
        return int(text) if text.isdecimal() else 0

    arm = number("hw.optional.arm64") == 1
    physical = max(1, number("hw.physicalcpu"))
    fast = min(physical, number("hw.perflevel0.physicalcpu") or physical)
    chip = values.get("machdep.cpu.brand_string", "unknown processor")
    memory_total_bytes = number("hw.memsize")
    prefix = "hw.optional.arm."
    features = {name.removeprefix(prefix) for name in values if name.startswith(prefix) and number(name) == 1}
    for name in ("machdep.cpu.features", "machdep.cpu.leaf7_features"):
        features.update(_linux_names(values.get(name, "")))
    version = values.get("kern.osproductversion", "")
    return Mac(
        model=values.get("hw.model", "Mac"),
        chip=chip,
        arm=arm,
        operating_system=f"macOS {version}".strip(),
        kernel=values.get("kern.osrelease", ""),
        performance_cores=fast,
        efficiency_cores=physical - fast,
        logical_cpus=max(physical, number("hw.logicalcpu")),
        features=frozenset(name.lower() for name in features),
        memory_total_bytes=memory_total_bytes,
        gpu=gpu.metal_gpu(f"{chip} GPU", memory_total_bytes, number("iogpu.wired_limit_mb")) if arm else None,
    )


def _lines(text: str) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in text.splitlines())
    return [(name.strip(), value.strip()) for name, colon, value in pairs if colon]


def _linux_names(text: str) -> list[str]:
    """Intel Macs: `AVX1.0 SSE4.2 AVX512VNNI` in the spelling of Linux's cpuinfo."""
    renamed = {"avx1.0": "avx", "sse4.2": "sse4_2", "avx512vnni": "avx512_vnni", "avx512vbmi": "avx512vbmi"}
    return [renamed.get(word, word) for word in text.lower().split()]
