from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from agent.hardware import report
from agent.hardware.board import Board
from agent.hardware.checks import Checks, Installed
from agent.hardware.doctor import Report, examine
from agent.hardware.memory import MemoryReading
from agent.hardware.profile import choose, load_profiles
from tests.hardware import recorded

GIB = 1024**3
PROFILES = load_profiles()
KEY = "0.3.36-aarch64-linux-0123456789ab"
INSTALLED = Installed(version="0.3.36", backends=frozenset({"cpu", "cuda", "metal"}), wheel_key=KEY)
HEALTHY = Checks(installed=INSTALLED, python_bits=64, state_dir="/var/lib/edge-agent", state_free_bytes=50 * GIB)


def report_on(
    name: str,
    *,
    board: dict[str, Any] | None = None,
    reading: MemoryReading | None = None,
    threads: tuple[int, ...] = (),
    **changes: Any,
) -> Report:
    machine: Board = dataclasses.replace(recorded.detect(name), **(board or {}))
    match = choose(machine, PROFILES)
    return examine(
        machine,
        match,
        match.profile.resolve(machine),
        reading or recorded.read_memory(name),
        dataclasses.replace(HEALTHY, **changes),
        wheel_key=KEY,
        requested_threads=threads,
    )


def codes(found: Report) -> set[str]:
    return {finding.code for finding in found.findings}


def test_a_healthy_board_has_no_findings() -> None:
    healthy = report_on("pi-5")
    assert codes(healthy) == set()
    assert healthy.exit_status == 0
    assert "Nothing is missing." in report.as_text(healthy)


CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("pi-5", {"installed": None}, "llama_cpp_missing", "error"),
    ("pi-5", {"installed": dataclasses.replace(INSTALLED, wheel_key=None)}, "unknown_build", "note"),
    ("x86-64-amx", {"installed": dataclasses.replace(INSTALLED, wheel_key=None)}, "unknown_build", "warning"),
    ("pi-5", {"installed": dataclasses.replace(INSTALLED, wheel_key="other")}, "other_build", "warning"),
    (
        "jetson-orin-nano",
        {"board": {"cuda_compiler": None}, "installed": dataclasses.replace(INSTALLED, backends=frozenset({"cpu"}))},
        "no_cuda_compiler",
        "warning",
    ),
    (
        "jetson-orin-nano",
        {"installed": dataclasses.replace(INSTALLED, backends=frozenset({"cpu"}))},
        "no_cuda_backend",
        "warning",
    ),
    (
        "mac-m2",
        {"installed": dataclasses.replace(INSTALLED, backends=frozenset({"cpu"}))},
        "no_metal_backend",
        "warning",
    ),
    ("pi-5", {"reading": MemoryReading(available_bytes=0, total_bytes=0)}, "memory_unknown", "error"),
    ("pi-zero-2w", {"reading": MemoryReading(available_bytes=90 << 20, total_bytes=427 << 20)}, "no_room", "warning"),
    ("pi-5", {"memory_cgroup": False}, "memory_cgroup_disabled", "warning"),
    ("pi-5", {"swap_on_sd_bytes": 100 << 20}, "swap_on_sd", "warning"),
    ("pi-5", {"state_free_bytes": None}, "state_dir_unreadable", "warning"),
    ("pi-5", {"state_free_bytes": 1 * GIB}, "disk_low", "warning"),
    ("pi-5", {"state_free_bytes": 100 << 20}, "disk_low", "error"),
    ("pi-5", {"throttled": 0x1}, "under_voltage", "warning"),
    ("pi-5", {"throttled": 0x10000}, "under_voltage", "warning"),
    ("pi-5", {"throttled": 0x8}, "throttled", "warning"),
    ("pi-5", {"throttled": 0x40000}, "throttled", "warning"),
    ("pi-4", {"python_bits": 32}, "python_32_bit", "warning"),
    ("pi-5", {"capture_niceness": 0}, "capture_not_first", "note"),
    ("pi-5", {"capture_niceness": -5}, "", ""),
    ("pi-5-container", {}, "fewer_cores", "note"),
    ("pi-5", {"threads": (8,)}, "threads_capped", "note"),
    ("pi-5", {"board": {"compatible": ("nvidia,tegra194",), "model": "Xavier", "gpu": None}}, "", ""),
]


@pytest.mark.parametrize(("name", "changes", "code", "severity"), CASES)
def test_each_problem_is_found_with_a_remedy(name: str, changes: dict[str, Any], code: str, severity: str) -> None:
    found = report_on(name, **changes)
    assert codes(found) == ({code} if code else set())
    for finding in found.findings:
        assert finding.severity == severity
        assert finding.message.endswith(".")
        assert finding.remedy.endswith(".") or "sudo" in finding.remedy
    assert found.exit_status == (1 if severity == "error" else 0)


def test_a_gpu_that_the_profile_does_not_use_is_named() -> None:
    gpu = recorded.detect("jetson-orin-nano").gpu
    found = report_on("rock-5b", board={"gpu": gpu})
    assert codes(found) == {"gpu_unused"}


@pytest.mark.parametrize(
    ("free_gib", "suggested"),
    [
        (7.0, ("Qwen2.5-1.5B-Instruct Q4_K_M", "Qwen2.5-0.5B-Instruct Q4_K_M", "Qwen2.5-3B-Instruct Q4_K_M")),
        (2.0, ("Qwen2.5-1.5B-Instruct Q4_K_M", "Qwen2.5-0.5B-Instruct Q4_K_M")),
        (0.6, ("SmolLM2-360M-Instruct Q4_K_M",)),
        (0.1, ()),
    ],
)
def test_only_what_fits_is_suggested(free_gib: float, suggested: tuple[str, ...]) -> None:
    reading = MemoryReading(available_bytes=int(free_gib * GIB), total_bytes=8 * GIB)
    assert report_on("pi-5", reading=reading).suggested == suggested


def test_errors_come_first() -> None:
    found = report_on("pi-5", installed=None, swap_on_sd_bytes=1 << 20, threads=(9,))
    assert [finding.severity for finding in found.findings] == ["error", "warning", "note"]


def test_a_graphics_card_is_its_own_pool() -> None:
    assert (report_on("x86-64-cuda").pool, report_on("jetson-orin-nano").pool) == ("gpu", "memory")
    cpu_only = dataclasses.replace(INSTALLED, backends=frozenset({"cpu"}))
    assert report_on("x86-64-cuda", installed=cpu_only).pool == "memory"


def test_the_budget_is_never_total_memory() -> None:
    for name in recorded.NAMES:
        found = report_on(name)
        if found.pool == "memory":
            assert found.budget_bytes < found.reading.usable_bytes <= found.reading.total_bytes


@pytest.mark.parametrize("name", recorded.NAMES)
@pytest.mark.parametrize("width", [80, 100])
def test_the_text_fits_a_terminal(name: str, width: int) -> None:
    found = report_on(name, installed=None, throttled=0x50005, swap_on_sd_bytes=1 << 27, memory_cgroup=False)
    text = report.as_text(found, width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert found.profile.name in text
    for finding in found.findings:
        assert finding.message.split()[0] in text


@pytest.mark.parametrize("name", recorded.NAMES)
def test_the_value_is_json(name: str) -> None:
    value = json.loads(json.dumps(report.as_value(report_on(name))))
    assert value["profile"]["name"] == choose(recorded.detect(name), PROFILES).profile.name
    assert value["ok"] is True
    assert value["profile"]["threads"]["generation"] <= value["board"]["usable_cores"]
    assert len(value["models"]) == 7


def test_the_text_of_a_pi_5_reads_as_documented() -> None:
    text = report.as_text(report_on("pi-5"))
    for line in (
        "Board       Raspberry Pi 5 Model B Rev 1.0 (BCM2712)",
        "Cores       4 x Cortex-A76",
        "Memory      7.9 GiB, 7.0 GiB available; no control group limit",
        "Profile     pi-5: the device tree says it is compatible with raspberrypi,5-model-b.",
        "Threads     4 to generate, 4 for prompts",
        "  Qwen2.5-0.5B    373 MiB   102 MiB    28 MiB   564 MiB    16384  ~26 tokens/s",
        "  Qwen2.5-14B     8.4 GiB   1.6 GiB    71 MiB  10.1 GiB        -  does not fit",
    ):
        assert line in text.splitlines()
