from __future__ import annotations

from pathlib import Path

import pytest

from agent.hardware.cpu import read_cpuinfo, read_processor


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def arm_cpuinfo(*parts: str) -> str:
    return "\n".join(f"processor\t: {i}\nCPU implementer\t: 0x41\nCPU part\t: {p}\n" for i, p in enumerate(parts))


def per_cpu(name: str, values: list[int]) -> dict[str, str]:
    files = {f"sys/devices/system/cpu/cpu{i}/{name}": f"{value}\n" for i, value in enumerate(values)}
    return files | {"sys/devices/system/cpu/online": f"0-{len(values) - 1}\n"}


@pytest.mark.parametrize(
    ("files", "performance", "efficiency"),
    [
        (per_cpu("cpu_capacity", [1024, 1024, 1024, 1024]), 4, 0),
        (per_cpu("cpu_capacity", [397, 397, 1024, 1024]), 2, 2),
        (per_cpu("cpu_capacity", [250, 250, 250, 250, 744, 744, 744, 1024]), 4, 4),
        (per_cpu("cpufreq/cpuinfo_max_freq", [1200000, 1200000, 2400000, 2400000]), 2, 2),
        (per_cpu("cpufreq/cpuinfo_max_freq", [4700000, 4500000, 4700000, 4500000]), 4, 0),
        ({"proc/cpuinfo": arm_cpuinfo("0xd03", "0xd03", "0xd08", "0xd08")}, 2, 2),
        ({"proc/cpuinfo": arm_cpuinfo("0xd05", "0xd05")}, 2, 0),
        (
            per_cpu("cpu_capacity", [1024] * 6)
            | {"sys/devices/cpu_core/cpus": "0-1\n", "sys/devices/cpu_atom/cpus": "2-5\n"},
            2,
            4,
        ),
        ({"sys/devices/system/cpu/online": "nonsense\n"}, 1, 0),
        ({"sys/devices/system/cpu/online": "0,2-3\n"}, 3, 0),
    ],
)
def test_performance_and_efficiency_cores(
    tmp_path: Path, files: dict[str, str], performance: int, efficiency: int
) -> None:
    root = machine(tmp_path, files)
    processor = read_processor(root, read_cpuinfo(root), None)
    fast = [core for core in processor.cores if core.performance]
    assert (len(fast), len(processor.cores) - len(fast)) == (performance, efficiency)


def test_hardware_threads_are_one_core_without_sysfs(tmp_path: Path) -> None:
    blocks = [f"processor\t: {i}\nphysical id\t: 0\ncore id\t\t: {i % 2}\n" for i in range(4)]
    root = machine(tmp_path, {"proc/cpuinfo": "\n".join(blocks)})
    processor = read_processor(root, read_cpuinfo(root), None)
    assert [core.cpus for core in processor.cores] == [(0, 2), (1, 3)]


def test_features_are_those_that_every_core_has(tmp_path: Path) -> None:
    text = "processor: 0\nFeatures: fp asimd asimddp\n\nprocessor: 1\nFeatures: fp asimd\n"
    root = machine(tmp_path, {"proc/cpuinfo": text})
    assert read_processor(root, read_cpuinfo(root), None).features == {"fp", "asimd"}


def test_an_affinity_mask_outside_the_machine_leaves_one_core(tmp_path: Path) -> None:
    root = machine(tmp_path, per_cpu("cpu_capacity", [1024, 1024]))
    assert len(read_processor(root, read_cpuinfo(root), {77}).usable) == 1


def test_an_unknown_part_is_named_by_its_number(tmp_path: Path) -> None:
    root = machine(tmp_path, {"proc/cpuinfo": "processor: 0\nCPU implementer: 0x51\nCPU part: 0x802\n"})
    assert read_processor(root, read_cpuinfo(root), None).name == "part 0x51:0x802"
