"""Major faults and pressure, from files of the kernel as they are, missing, and garbage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.hardware.sensors.faults import parse_disk_bytes, parse_major_faults, read_disk_bytes, read_major_faults
from agent.hardware.sensors.pressure import Pressure, parse_pressure, read_own_pressure

STAT = "812 (a (b) c) S 1 812 812 0 -1 4194560 9143 0 77 0 12 4 0 0 20 0 5 0 100 1 1 1 1 1 1 1 1 1\n"
PSI = "some avg10=41.50 avg60=12.25 avg300=2.00 total=123456\nfull avg10=20.25 avg60=6.00 avg300=1.00 total=65432\n"


@pytest.mark.parametrize(
    ("text", "faults"),
    [(STAT, 77), ("", None), ("812 (x) S 1 2", None), ("garbage", None), (STAT.replace(" 77 ", " -7 "), None)],
)
def test_the_twelfth_field_counts_major_faults(text: str, faults: int | None) -> None:
    assert parse_major_faults(text) == faults


def test_this_process_has_a_count_and_one_that_is_gone_has_none(tmp_path: Path) -> None:
    assert read_major_faults(os.getpid()) is not None
    assert read_major_faults(os.getpid(), tmp_path) is None


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("rchar: 99\nsyscr: 3\nread_bytes: 4096\nwrite_bytes: 7\ncancelled_write_bytes: 0\n", 4096),
        ("rchar: 99\n", None),
        ("read_bytes: -1\n", None),
        ("", None),
    ],
)
def test_bytes_from_a_disk(text: str, read: int | None) -> None:
    assert parse_disk_bytes(text) == read


def test_this_process_may_be_asked_what_it_read(tmp_path: Path) -> None:
    assert read_disk_bytes(os.getpid()) is not None
    assert read_disk_bytes(os.getpid(), tmp_path) is None


@pytest.mark.parametrize(
    ("over_s", "pressure"),
    [(10, Pressure(some_percent=41.5, full_percent=20.25)), (60, Pressure(some_percent=12.25, full_percent=6.0))],
)
def test_pressure_over_ten_seconds_and_over_a_minute(over_s: int, pressure: Pressure) -> None:
    assert parse_pressure(PSI, over_s=over_s) == pressure  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("group", "found"),
    [
        ("0::/system.slice/edge-agent.service/daemon\n", True),
        ("0::/system.slice/edge-agent.service\n", True),
        ("9:name=systemd:/\n0::/\n", False),
        ("4:memory:/x\n", False),
        ("0::/system.slice/../../../../etc\n", False),
        ("", False),
    ],
)
def test_the_pressure_of_our_own_control_group(tmp_path: Path, group: str, found: bool) -> None:
    for file, text in {
        "proc/self/cgroup": group,
        "sys/fs/cgroup/system.slice/edge-agent.service/memory.pressure": PSI,
        "sys/fs/cgroup/memory.pressure": PSI,
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert (read_own_pressure(tmp_path, over_s=10) is not None) == found
