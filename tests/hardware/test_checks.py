from __future__ import annotations

from pathlib import Path

import pytest

from agent.hardware import checks
from tests.hardware import recorded


@pytest.mark.parametrize(
    ("record", "key"),
    [
        (
            '{"url": "file:///c/edge-agent/wheels/0.3.36-x86_64-linux-ab/llama_cpp_python-0.3.36.whl"}',
            "0.3.36-x86_64-linux-ab",
        ),
        ('{"url": "file:///a%20b/wheels/k/x.whl"}', "k"),
        ('{"url": "file:///tmp/downloads/x.whl"}', None),
        ('{"url": "https://example.org/wheels/k/x.tar.gz"}', None),
        ('{"url": 3}', None),
        ("[]", None),
        ("not json", None),
        (None, None),
    ],
)
def test_the_wheels_key_is_read_from_pips_record(record: str | None, key: str | None) -> None:
    assert checks.wheel_key(record) == key


@pytest.mark.parametrize(
    ("name", "output", "bits"),
    [
        ("pi-zero-2w", None, 0x50005),
        ("pi-5", None, 0),
        ("x86-64-avx2", "throttled=0x1", None),
    ],
)
def test_throttling_bits(name: str, output: str | None, bits: int | None) -> None:
    assert checks.read_throttled(recorded.root_of(name), lambda command: output) == bits


@pytest.mark.parametrize(
    ("output", "bits"), [("throttled=0x50000\n", 0x50000), ("throttled=0x0", 0), ("VCHI failed", None), (None, None)]
)
def test_throttling_bits_from_vcgencmd(tmp_path: Path, output: str | None, bits: int | None) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    assert checks.read_throttled(tmp_path, lambda command: output) == bits


@pytest.mark.parametrize(
    ("mounts", "swaps", "expected_kib"),
    [
        ("/dev/mmcblk0p2 / ext4 rw 0 0\n", "/var/swap file 102396 0 -2\n", 102396),
        ("/dev/nvme0n1p2 / ext4 rw 0 0\n", "/var/swap file 102396 0 -2\n", 0),
        ("/dev/nvme0n1p2 / ext4 rw 0 0\n", "/dev/mmcblk0p3 partition 500 0 -2\n", 500),
        ("/dev/mmcblk0p2 / ext4 rw 0 0\n", "/dev/zram0 partition 524284 0 100\n", 0),
        ("", "garbage\n", 0),
    ],
)
def test_swap_on_an_sd_card(tmp_path: Path, mounts: str, swaps: str, expected_kib: int) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/mounts").write_text(mounts)
    (tmp_path / "proc/swaps").write_text("Filename Type Size Used Priority\n" + swaps)
    assert checks.swap_on_sd_bytes(tmp_path) == expected_kib * 1024


def test_free_space_is_found_where_the_folder_would_be_made(tmp_path: Path) -> None:
    gathered = checks.gather(tmp_path / "not/yet/there", recorded.root_of("pi-5"))
    assert gathered.state_free_bytes is not None
    assert gathered.state_free_bytes > 0
    assert gathered.python_bits in (32, 64)
    assert gathered.memory_cgroup is True


def test_the_installed_library_is_found_without_importing_it() -> None:
    import sys

    before = "llama_cpp" in sys.modules
    installed = checks.find_installed()
    assert ("llama_cpp" in sys.modules) == before
    if installed is not None:
        assert "cpu" in installed.backends
