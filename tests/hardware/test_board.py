from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.hardware.board import Board, detect
from tests.hardware import recorded

GIB = 1024**3

EXPECTED = {
    # name: model, soc, cpu, performance, efficiency, hardware threads, usable, RAM in GiB, GPU
    "pi-zero-2w": ("Raspberry Pi Zero 2 W Rev 1.0", "BCM2837", "Cortex-A53", 4, 0, 4, 4, 0.42, None),
    "pi-4": ("Raspberry Pi 4 Model B Rev 1.4", "BCM2711", "Cortex-A72", 4, 0, 4, 4, 3.7, None),
    "pi-5": ("Raspberry Pi 5 Model B Rev 1.0", "BCM2712", "Cortex-A76", 4, 0, 4, 4, 7.87, None),
    "pi-5-container": ("Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76", "Cortex-A76", 4, 0, 4, 2, 7.87, None),
    "jetson-orin-nano": (
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "TEGRA234",
        "Cortex-A78AE",
        6,
        0,
        6,
        6,
        7.44,
        "Orin (ga10b)",
    ),
    "jetson-orin-agx": (
        "NVIDIA Jetson AGX Orin Developer Kit",
        "TEGRA234",
        "Cortex-A78AE",
        8,
        0,
        8,
        8,
        61.37,
        "Orin (ga10b)",
    ),
    "rock-5b": ("Radxa ROCK 5B", "RK3588", "Cortex-A55 + Cortex-A76", 4, 4, 8, 8, 15.42, None),
    "aarch64-server": ("Amazon EC2 t4g.medium", "Neoverse-N1", "Neoverse-N1", 2, 0, 2, 2, 3.77, None),
    "x86-64-amx": (
        "Microsoft Corporation Virtual Machine",
        "INTEL(R) XEON(R) PLATINUM 8573C",
        "INTEL(R) XEON(R) PLATINUM 8573C",
        2,
        0,
        4,
        2,
        15.62,
        None,
    ),
    "x86-64-avx2": (
        "Intel(R) Client Systems NUC8i5BEH",
        "Intel(R) Core(TM) i5-8259U CPU @ 2.30GHz",
        "Intel(R) Core(TM) i5-8259U CPU @ 2.30GHz",
        4,
        0,
        8,
        4,
        15.5,
        None,
    ),
    "x86-64-n100": ("Intel(R) N100", "Intel(R) N100", "Intel(R) N100", 4, 0, 4, 4, 7.55, None),
    "x86-64-sse": (
        "Intel(R) Celeron(R) J4125 CPU @ 2.00GHz",
        "Intel(R) Celeron(R) J4125 CPU @ 2.00GHz",
        "Intel(R) Celeron(R) J4125 CPU @ 2.00GHz",
        4,
        0,
        4,
        4,
        7.6,
        None,
    ),
    "x86-64-hybrid": (
        "Framework Laptop (12th Gen Intel Core)",
        "12th Gen Intel(R) Core(TM) i5-1240P",
        "12th Gen Intel(R) Core(TM) i5-1240P",
        4,
        8,
        16,
        12,
        31.08,
        None,
    ),
    "x86-64-cuda": (
        "AMD Ryzen 7 5800X 8-Core Processor",
        "AMD Ryzen 7 5800X 8-Core Processor",
        "AMD Ryzen 7 5800X 8-Core Processor",
        8,
        0,
        16,
        8,
        31.27,
        "NVIDIA GeForce RTX 3060",
    ),
    "mac-m1": ("MacBookAir10,1", "Apple M1", "Apple M1", 4, 4, 8, 8, 8.0, "Apple M1 GPU"),
    "mac-m2": ("Mac14,3", "Apple M2", "Apple M2", 4, 4, 8, 8, 16.0, "Apple M2 GPU"),
    "mac-m4": ("Mac16,10", "Apple M4", "Apple M4", 4, 6, 10, 10, 16.0, "Apple M4 GPU"),
}

OPERATING_SYSTEMS = {
    "pi-5": ("linux", "Debian GNU/Linux 12 (bookworm)", "6.12.25+rpt-rpi-2712", "aarch64"),
    "jetson-orin-nano": ("linux", "Ubuntu 22.04.5 LTS", "5.15.148-tegra", "aarch64"),
    "x86-64-hybrid": ("linux", "Fedora Linux 41 (Workstation Edition)", "6.11.4-301.fc41.x86_64", "x86_64"),
    "mac-m4": ("darwin", "macOS 15.1", "24.1.0", "aarch64"),
}


def test_every_recorded_board_is_expected() -> None:
    assert set(EXPECTED) == set(recorded.NAMES)


@pytest.mark.parametrize("name", recorded.NAMES)
def test_board_is_detected(name: str) -> None:
    board = recorded.detect(name)
    found = (
        board.model,
        board.soc,
        board.cpu_name,
        board.performance_cores,
        board.efficiency_cores,
        board.logical_cpus,
        board.usable_cores,
        round(board.memory_total_bytes / GIB, 2),
        board.gpu and board.gpu.name,
    )
    assert found == EXPECTED[name]
    assert board.architecture == ("x86_64" if name.startswith("x86-64") else "aarch64")


@pytest.mark.parametrize("name", OPERATING_SYSTEMS)
def test_operating_system_is_detected(name: str) -> None:
    board = recorded.detect(name)
    assert (board.system, board.operating_system, board.kernel, board.architecture) == OPERATING_SYSTEMS[name]


@pytest.mark.parametrize(
    ("name", "present", "absent"),
    [
        ("pi-4", {"asimd", "crc32"}, {"asimddp", "atomics"}),
        ("pi-5", {"asimddp", "fphp"}, {"i8mm", "sve"}),
        ("x86-64-amx", {"amx_int8", "avx_vnni", "avx512_vnni"}, {"sse4a"}),
        ("x86-64-avx2", {"avx2", "fma"}, {"avx512f", "avx_vnni"}),
        ("x86-64-n100", {"avx2", "avx_vnni"}, {"avx512f"}),
        ("mac-m1", {"feat_dotprod"}, {"feat_bf16", "feat_i8mm"}),
        ("mac-m4", {"feat_dotprod", "feat_i8mm", "feat_sme"}, set()),
    ],
)
def test_cpu_features(name: str, present: set[str], absent: set[str]) -> None:
    features = recorded.detect(name).cpu_features
    assert present <= features
    assert not absent & features


def test_cuda_compiler_is_found_outside_path() -> None:
    assert recorded.detect("jetson-orin-nano").cuda_compiler == "/usr/local/cuda/bin/nvcc"
    assert recorded.detect("jetson-orin-agx").cuda_compiler == "/usr/local/cuda-12.6/bin/nvcc"
    assert recorded.detect("pi-5").cuda_compiler is None


def test_container_limits_are_seen() -> None:
    board = recorded.detect("pi-5-container")
    assert board.compatible == ()
    assert board.memory_ceiling_bytes == 2 * GIB
    assert board.cpu_quota == 2.0


def test_affinity_counts_physical_cores() -> None:
    board = detect(recorded.root_of("x86-64-avx2"), affinity={0, 4, 1})
    assert (board.cores, board.usable_cores) == (4, 2)
    board = detect(recorded.root_of("rock-5b"), affinity={0, 1, 4})
    assert (board.usable_cores, board.usable_performance_cores) == (3, 1)


def assert_promises_least(board: Board) -> None:
    assert board.cores >= 1
    assert 1 <= board.usable_cores <= board.cores
    assert board.usable_performance_cores <= board.performance_cores


def test_an_empty_machine_gives_one_core_and_no_memory(tmp_path: Path) -> None:
    board = detect(tmp_path)
    assert_promises_least(board)
    assert (board.cores, board.memory_total_bytes, board.gpu, board.cpu_features) == (1, 0, None, frozenset())


def test_an_empty_device_tree_falls_back_to_cpuinfo(tmp_path: Path) -> None:
    shutil.copytree(recorded.root_of("pi-5"), tmp_path / "pi")
    (tmp_path / "pi/proc/device-tree/model").write_bytes(b"\0")
    (tmp_path / "pi/proc/device-tree/compatible").write_bytes(b"")
    board = detect(tmp_path / "pi")
    assert board.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert board.compatible == ()


def test_files_that_may_not_be_read_are_as_if_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "glob", refuse)
    assert_promises_least(detect(recorded.root_of("x86-64-cuda")))


def test_folders_in_the_place_of_files_are_as_if_missing(tmp_path: Path) -> None:
    for name in ("proc/cpuinfo", "proc/meminfo", "proc/device-tree/model", "etc/os-release", "proc/self/cgroup"):
        (tmp_path / name).mkdir(parents=True)
    assert_promises_least(detect(tmp_path))


GARBAGE = (
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/device-tree/compatible",
    "proc/self/cgroup",
    "sys/devices/system/cpu/online",
    "sys/devices/system/cpu/cpu0/cpu_capacity",
    "sys/devices/system/cpu/cpu0/topology/core_cpus_list",
    "sys/fs/cgroup/memory.max",
    "sys/fs/cgroup/cpu.max",
    "etc/os-release",
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(GARBAGE), data=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_garbage_never_raises(tmp_path: Path, name: str, data: bytes) -> None:
    root = tmp_path / "root"
    if not root.exists():
        shutil.copytree(recorded.root_of("pi-5"), root)
    path = root / name
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    assert_promises_least(detect(root))
    if before is None:
        path.unlink()
    else:
        path.write_bytes(before)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=300))
def test_garbage_from_commands_never_raises(text: str) -> None:
    for system in ("linux", "darwin"):
        assert_promises_least(detect(recorded.root_of("x86-64-cuda"), run=lambda command: text, system=system))


def test_this_machine_is_detected() -> None:
    board = detect()
    assert_promises_least(board)
    assert board.memory_total_bytes > 0
