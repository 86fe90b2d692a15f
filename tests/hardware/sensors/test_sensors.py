from __future__ import annotations

from pathlib import Path

import pytest

from agent.hardware.sensors.boot import names_a_boot, read_boot_id, up_s
from agent.hardware.sensors.cpu_share import CpuTimes, busy_share, parse_stat, read_cpu_times
from agent.hardware.sensors.disk import read_disk
from agent.hardware.sensors.frequency import read_frequency
from agent.hardware.sensors.pressure import Pressure, parse_pressure, read_pressure
from agent.hardware.sensors.temperature import read_temperature
from agent.hardware.sensors.throttling import Throttling, parse_bits, read_throttling


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def zones(*types_and_temps: tuple[str, str]) -> dict[str, str]:
    files = {}
    for index, (type, temp) in enumerate(types_and_temps):
        files[f"sys/class/thermal/thermal_zone{index}/type"] = type + "\n"
        files[f"sys/class/thermal/thermal_zone{index}/temp"] = temp + "\n"
    return files


ORIN = (
    ("cpu-thermal", "50187"), ("gpu-thermal", "-256000"), ("soc0-thermal", "51062"), ("tj-thermal", "52500"),
    ("soc1-thermal", "garbage"),
)  # fmt: skip
CORETEMP = {
    "sys/class/hwmon/hwmon0/name": "acpitz",
    "sys/class/hwmon/hwmon0/temp1_input": "99000",
    "sys/class/hwmon/hwmon1/name": "coretemp",
    "sys/class/hwmon/hwmon1/temp1_input": "61000",
    "sys/class/hwmon/hwmon1/temp2_input": "58000",
}


@pytest.mark.parametrize(
    ("files", "celsius", "count"),
    [
        (zones(("cpu-thermal", "48312")), 48.312, 1),
        (zones(*ORIN), 52.5, 3),
        (zones(("acpitz", "27800"), ("x86_pkg_temp", "45000"), ("iwlwifi_1", "60000")), 45.0, 3),
        (zones(("acpitz", "27800"), ("acpitz", "29800")), 29.8, 2),
        (CORETEMP, 61.0, 2),
    ],
)
def test_temperature(tmp_path: Path, files: dict[str, str], celsius: float, count: int) -> None:
    found = read_temperature(machine(tmp_path, files))
    assert found is not None
    assert (found.celsius, len(found.zones)) == (celsius, count)


@pytest.mark.parametrize("files", [{}, zones(("cpu-thermal", "")), zones(("cpu-thermal", "-274000"))])
def test_no_temperature_that_makes_sense(tmp_path: Path, files: dict[str, str]) -> None:
    assert read_temperature(machine(tmp_path, files)) is None


@pytest.mark.parametrize(
    ("bits", "now", "since_boot"),
    [
        (0, (), ()),
        (0x50005, ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        (0x80008, ("soft temperature limit",), ("soft temperature limit",)),
        (0x20000, (), ("frequency capped",)),
    ],
)
def test_throttling_bits(bits: int, now: tuple[str, ...], since_boot: tuple[str, ...]) -> None:
    assert parse_bits(bits) == Throttling(now=now, since_boot=since_boot)


def test_throttling_of_a_pi_of_an_x86_and_of_nothing(tmp_path: Path) -> None:
    pi = machine(tmp_path / "pi", {"proc/device-tree/model": "Raspberry Pi 4 Model B"})
    assert read_throttling(pi, run=lambda _: "throttled=0x4\n") == Throttling(now=("throttled",))
    assert read_throttling(pi) is None  # no command is run for another root
    x86 = machine(
        tmp_path / "x86",
        {f"sys/devices/system/cpu/cpu{n}/thermal_throttle/package_throttle_count": f"{n * 3}" for n in range(3)},
    )
    assert read_throttling(x86) == Throttling(count=6)
    assert read_throttling(tmp_path / "nothing") is None


def test_frequency_of_the_fast_cores(tmp_path: Path) -> None:
    policy = "sys/devices/system/cpu/cpufreq/policy"
    files = {
        f"{policy}0/scaling_cur_freq": "600000",
        f"{policy}0/cpuinfo_max_freq": "1800000",
        f"{policy}4/scaling_cur_freq": "1500000",
        f"{policy}4/scaling_max_freq": "2000000",
        f"{policy}4/cpuinfo_max_freq": "2400000",
    }
    found = read_frequency(machine(tmp_path, files))
    assert found is not None
    assert (found.mhz, found.limit_mhz, found.maximum_mhz) == (1500, 2000, 2400)
    assert read_frequency(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("cpu  10 20 30 400 50 6 7 8 9 9\ncpu0 1 1 1 1\n", CpuTimes(busy=81, idle=450)),
        ("cpu 1 2 3 4\n", CpuTimes(busy=6, idle=4)),
        ("cpu0 1 2 3 4\n", None),
        ("cpu 1 2 x 4\n", None),
        ("cpu 1 2\n", None),
        ("", None),
    ],
)
def test_proc_stat(text: str, times: CpuTimes | None) -> None:
    assert parse_stat(text) == times


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        (CpuTimes(busy=0, idle=0), CpuTimes(busy=1, idle=3), 0.25),
        (CpuTimes(busy=5, idle=5), CpuTimes(busy=5, idle=5), None),
        (CpuTimes(busy=5, idle=5), CpuTimes(busy=6, idle=4), 1.0),  # iowait ran backwards
    ],
)
def test_busy_share(before: CpuTimes, after: CpuTimes, share: float | None) -> None:
    assert busy_share(before, after) == share


PSI = "some avg10=0.00 avg60=1.25 avg300=0.10 total=123\nfull avg10=0.00 avg60=0.50 avg300=0.00 total=5\n"


@pytest.mark.parametrize(
    ("text", "pressure"),
    [
        (PSI, Pressure(some_percent=1.25, full_percent=0.5)),
        (PSI.splitlines()[0], Pressure(some_percent=1.25, full_percent=0.0)),
        ("", None),
        ("some avg60=x", None),
    ],
)
def test_pressure(text: str, pressure: Pressure | None, tmp_path: Path) -> None:
    assert parse_pressure(text) == pressure
    assert read_pressure("memory", machine(tmp_path, {"proc/pressure/memory": text})) == pressure


def test_disk_also_of_a_folder_that_is_still_to_be_made(tmp_path: Path) -> None:
    found = read_disk(tmp_path / "a" / "b")
    assert found is not None
    assert 0 < found.free_bytes <= found.total_bytes
    assert 0 < found.free_share <= 1


def test_boot(tmp_path: Path) -> None:
    name = "0ca92758-c72e-4acb-b4b9-cd105276c389"
    assert read_boot_id(machine(tmp_path, {"proc/sys/kernel/random/boot_id": name + "\n"})) == name
    assert read_boot_id(tmp_path / "mac", run=lambda command: f"{name.upper()}\n") == name
    assert names_a_boot(name)
    for root in (tmp_path / "nothing", machine(tmp_path / "bad", {"proc/sys/kernel/random/boot_id": "#/+"})):
        ours = read_boot_id(root)
        assert ours != read_boot_id(root), "nothing here knows the boot"
        assert not names_a_boot(ours)
    assert read_boot_id() == read_boot_id()
    assert 0 < up_s() <= up_s()


def test_this_machine_can_be_read() -> None:
    read_temperature()
    read_throttling()
    read_frequency()
    read_pressure("memory")
    read_cpu_times()
