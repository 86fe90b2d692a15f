from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.hardware.gpu import detect_gpu, metal_gpu
from tests.hardware import recorded

MIB = 1024**2
GIB = 1024**3
CUDA = recorded.root_of("x86-64-cuda")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # output of nvidia-smi: name, memory in MiB, free, capability, number of cards, unified
        (
            "NVIDIA GeForce RTX 3060, 12288, 11829, 560.35.03, 8.6\n",
            ("NVIDIA GeForce RTX 3060", 12288, 11829, "8.6", 1),
        ),
        (
            "Tesla P4, 7680, 7500, 550.1, 6.1\nNVIDIA L4, 23034, 22000, 550.1, 8.9\n",
            ("NVIDIA L4", 23034, 22000, "8.9", 2),
        ),
        ("Quadro K620, 2048, 2000, 470.1\n", ("Quadro K620", 2048, 2000, "", 1)),
        ("NVIDIA GB10, [N/A], [N/A], 580.65.06, 12.1\n", ("NVIDIA GB10", 0, None, "12.1", 1)),
        # nothing usable: the driver's own files still name the card
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", None),
        ('Field "compute_cap" is not a valid field to query.\n', None),
        ("", None),
    ],
)
def test_nvidia_smi(text: str, expected: tuple[object, ...] | None) -> None:
    gpu = detect_gpu(CUDA, lambda command: text, (), 32 * GIB)
    assert gpu is not None
    free = None if gpu.memory_free_bytes is None else gpu.memory_free_bytes // MIB
    found = (gpu.name, gpu.memory_total_bytes // MIB, free, gpu.compute_capability, gpu.count)
    assert found == (expected or ("NVIDIA GeForce RTX 3060", 0, None, "", 1))
    assert gpu.unified == ("GB10" in text)


def test_an_old_driver_is_asked_again_without_the_capability() -> None:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        asked.append(command)
        return (
            'Field "compute_cap" is not valid.' if "compute_cap" in command[1] else "Quadro K620, 2048, 2000, 470.1\n"
        )

    gpu = detect_gpu(CUDA, run, (), 32 * GIB)
    assert gpu is not None
    assert (gpu.name, len(asked)) == ("Quadro K620", 2)


def test_nvidia_smi_is_not_run_without_a_driver(tmp_path: Path) -> None:
    def run(command: Sequence[str]) -> str:
        raise AssertionError(command)

    assert detect_gpu(tmp_path, run, ("raspberrypi,5-model-b",), 8 * GIB) is None


def test_a_jetson_shares_its_memory() -> None:
    gpu = recorded.detect("jetson-orin-nano").gpu
    assert gpu is not None
    assert (gpu.unified, gpu.compute_capability, gpu.driver) == (True, "8.7", "R36.4.3")
    assert gpu.memory_total_bytes == recorded.detect("jetson-orin-nano").memory_total_bytes


@pytest.mark.parametrize(
    ("memory_gib", "wired_mb", "expected_mib"),
    [(16, 0, 10922), (32, 0, 21845), (36, 0, 27648), (64, 0, 49152), (16, 14336, 14336)],
)
def test_metal_may_wire_part_of_the_memory(memory_gib: int, wired_mb: int, expected_mib: int) -> None:
    assert metal_gpu("M", memory_gib * GIB, wired_mb).memory_total_bytes // MIB == expected_mib
