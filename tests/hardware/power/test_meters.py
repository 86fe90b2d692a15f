"""Every meter: a recorded board, a missing file, a forbidden one, garbage.

Where the recordings under `tests/hardware/boards` come from:
- pi-5 `commands/vcgencmd`: the output in the README of github.com/jfikar/RPi5-power (four busy cores).
- jetson-orin-nano `hwmon1`: rails, 5160 mV and 1010 mA at rest, 7784 mA limit: docs/power.md of
  github.com/ARK-Electronics/ark_jetson_kernel (Orin NX, same module family); the other two channels are chosen.
- jetson-orin-agx `hwmon1`, `hwmon2`: layout of github.com/alumet-dev/alumet issue 212; volts and milliamperes chosen to
  give the 5139, 3268 and 5500 mW that tegrastats printed on a board with JetPack 7.
- x86-64-hybrid `intel-rapl:0`: github.com/flightlessmango/MangoHud issue 1776. x86-64-avx2: zones, range and the dram
  counter of github.com/intel/thermal_daemon issue 45, package and psys chosen.
- x86-64-hybrid `BAT0`: github.com/jaor/xmobar issue 315 (power_now); x86-64-n100: github.com/mjkillough/cnx pull 31
  (current_now). The mouse's battery is made up.
- mac-m2 `powermetrics`: lines of a capture on an Apple chip with two P clusters, its header made up; other macOS
  versions: github.com/joular/joularjx issue 51.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import RequestError, UnavailableError
from agent.hardware.power import command, powermetrics, pushed
from agent.hardware.power.battery import BatteryMeter
from agent.hardware.power.command import CommandMeter
from agent.hardware.power.ina import InaMeter
from agent.hardware.power.nvidia import Nvml, NvmlMeter, SmiMeter
from agent.hardware.power.pmic import PmicMeter
from agent.hardware.power.powermetrics import PowermetricsMeter
from agent.hardware.power.pushed import LAG_S, PushedMeter
from agent.hardware.power.rapl import RaplMeter
from tests.hardware import recorded


def says(text: str | None) -> Callable[..., str | None]:
    return lambda command: text


def copy_of(board: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded.root_of(board), tmp_path / board))


def refuse(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user who may not read `path`; the tests may run as root."""
    real = Path.open

    def open_(self: Path, *arguments: Any, **named: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return real(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_)


def test_pi_5_adds_the_rails_that_have_a_current() -> None:
    sample = PmicMeter(recorded.runner("pi-5")).read(1.0)
    assert sample.watts == pytest.approx(10.8, abs=0.1)
    assert sample.at_s == 1.0


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "not installed"),
        ("", "no core rail"),
        ('error=1 error_msg="Command not registered"', "Command not registered"),  # a Pi 4
        ("VDD_CORE_A current(7)=1.2A\nVDD_CORE_V volt(15)=0.9", "no core rail"),
        ("VDD_CORE_A current(7)=-1.20000000A\nVDD_CORE_V volt(15)=0.90000000V", "no core rail"),
        ("VDD_CORE_A current(7)=99999.0A\nVDD_CORE_V volt(15)=0.9V", "which cannot be"),
        ("\x00\xff" * 100, "no core rail"),
    ],
)
def test_pi_5_without_an_answer_that_makes_sense(output: str | None, message: str) -> None:
    with pytest.raises(UnavailableError, match=message):
        PmicMeter(says(output)).read(0.0)


def test_jetsons_read_the_rail_that_feeds_the_others_or_add_those_that_do_not_overlap(tmp_path: Path) -> None:
    nano = InaMeter(recorded.root_of("jetson-orin-nano"))
    assert (nano.source, nano.read(0.0).watts) == ("INA3221, VDD_IN", pytest.approx(5.2116))
    agx = InaMeter(recorded.root_of("jetson-orin-agx"))
    assert agx.source == "INA3221, VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    assert agx.read(0.0).watts == pytest.approx(5.139 + 3.268 + 5.500, abs=0.02)
    thor = copy_of("jetson-orin-agx", tmp_path) / "sys/class/hwmon/hwmon5"
    thor.mkdir()
    (thor / "name").write_text("ina238\n")
    (thor / "power1_input").write_text("41250000\n")
    meter = InaMeter(tmp_path / "jetson-orin-agx")
    assert (meter.source, meter.scope, meter.read(0.0).watts) == ("INA238, VIN", "the whole board", 41.25)


def test_jetson_files_that_are_missing_forbidden_or_garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="No INA3221"):
        InaMeter(tmp_path)
    folder = copy_of("jetson-orin-nano", tmp_path) / "sys/class/hwmon/hwmon1"
    meter = InaMeter(tmp_path / "jetson-orin-nano")
    (folder / "in1_input").write_text("hot\n")
    with pytest.raises(UnavailableError, match="'hot', which is no number"):
        meter.read(0.0)
    (folder / "in1_input").unlink()
    with pytest.raises(UnavailableError, match="does not exist"):
        meter.read(0.0)
    (folder / "in1_input").write_text("-5160\n")
    with pytest.raises(UnavailableError, match="cannot be"):
        meter.read(0.0)
    refuse(folder / "curr1_input", monkeypatch)
    (folder / "in1_input").write_text("5160\n")
    with pytest.raises(UnavailableError, match="may not be read"):
        meter.read(0.0)
    (folder / "in1_label").write_text("VDD_MYSTERY\n")
    with pytest.raises(UnavailableError, match=r"VDD_CPU_GPU_CV, VDD_MYSTERY, VDD_SOC is known"):
        InaMeter(tmp_path / "jetson-orin-nano")


def test_rapl_adds_packages_and_memory_but_not_their_parts(tmp_path: Path) -> None:
    meter = RaplMeter(recorded.root_of("x86-64-hybrid"))
    assert (meter.source, meter.scope) == ("RAPL, package-0", "the processor")
    root = copy_of("x86-64-avx2", tmp_path)
    meter = RaplMeter(root)
    assert meter.source == "RAPL, package-0 + dram"
    assert (meter.read(10.0).joules, meter.read(10.0).watts) == (0.0, None)
    zones = root / "sys/class/powercap"
    (zones / "intel-rapl:0/energy_uj").write_text(str(61430542 + 30_000_000))
    (zones / "intel-rapl:0:2/energy_uj").write_text(str(2469474853 + 4_000_000))
    (zones / "intel-rapl:1/energy_uj").write_text("123456789")
    sample = meter.read(12.0)
    assert (sample.joules, sample.watts) == (pytest.approx(34.0), pytest.approx(17.0))


def test_rapl_wraps_around_and_survives_a_reset(tmp_path: Path) -> None:
    counter = copy_of("x86-64-hybrid", tmp_path) / "sys/class/powercap/intel-rapl:0/energy_uj"
    meter = RaplMeter(tmp_path / "x86-64-hybrid")
    values = [
        (0.0, 262_143_000_000, 0.0),
        (1.0, 9_671_150, 10.0),
        (2.0, 24_671_150, 25.0),
        (3.0, 0, 25.0),
        (4.0, 5_000_000, 30.0),
    ]
    for now_s, microjoules, joules in values:
        counter.write_text(str(microjoules))
        assert meter.read(now_s).joules == pytest.approx(joules)


def test_rapl_files_that_are_missing_forbidden_or_garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="Virtual machines have none"):
        RaplMeter(tmp_path)
    counter = copy_of("x86-64-hybrid", tmp_path) / "sys/class/powercap/intel-rapl:0/energy_uj"
    meter = RaplMeter(tmp_path / "x86-64-hybrid")
    counter.write_bytes(b"\xff\xfe")
    with pytest.raises(UnavailableError, match="no number"):
        meter.read(0.0)
    counter.unlink()
    with pytest.raises(UnavailableError, match="does not exist"):
        meter.read(0.0)
    refuse(counter, monkeypatch)
    with pytest.raises(UnavailableError, match="only root may"):
        meter.read(0.0)


class FakeNvml:
    """Two cards behind NVML's functions; `status` is what the energy counter returns."""

    def __init__(self, *, milliwatts: int = 27_000, counter_status: int = 0, power_status: int = 0) -> None:
        self.milliwatts, self.counter_status, self.power_status = milliwatts, counter_status, power_status
        self.millijoules = 5_000_000

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, handle: Any) -> int:  # noqa: N802
        handle._obj.value = 100 + index.value
        return 0

    def nvmlDeviceGetPowerUsage(self, handle: Any, milliwatts: Any) -> int:  # noqa: N802
        milliwatts._obj.value = self.milliwatts
        return self.power_status

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, millijoules: Any) -> int:  # noqa: N802
        millijoules._obj.value = self.millijoules
        return self.counter_status


def test_nvml_counts_joules_where_the_card_does_and_reads_watts_elsewhere() -> None:
    library = FakeNvml()
    meter = NvmlMeter(Nvml(library))
    assert meter.source == "NVML, 2 cards, energy counter"
    meter.read(0.0)
    library.millijoules += 300_000
    sample = meter.read(3.0)
    assert (sample.watts, sample.joules) == (54.0, 600.0)
    old = NvmlMeter(Nvml(FakeNvml(counter_status=3))).read(0.0)
    assert (old.watts, old.joules) == (54.0, None)


def test_nvml_of_a_jetson_or_a_broken_driver_says_so() -> None:
    with pytest.raises(UnavailableError, match="not supported"):
        NvmlMeter(Nvml(FakeNvml(power_status=3)))
    with pytest.raises(UnavailableError, match="no permission"):
        NvmlMeter(Nvml(FakeNvml(power_status=4)))
    with pytest.raises(UnavailableError, match="cannot be"):
        NvmlMeter(Nvml(FakeNvml(milliwatts=2**31))).read(0.0)
    with pytest.raises(UnavailableError, match="has no nvmlInit_v2"):
        Nvml(object())


@pytest.mark.parametrize(
    ("output", "watts"),
    [("26.54\n", 26.54), ("26.54\n70.00\n", 96.54), ("[N/A]\n", None), ("12.0\n[Not Supported]\n", None), ("", None),
     ("Failed to initialize NVML: Driver/library version mismatch\n", None), (None, None), ("nan\n", None)],
)  # fmt: skip
def test_nvidia_smi(output: str | None, watts: float | None) -> None:
    meter = SmiMeter(says(output))
    if watts is None:
        with pytest.raises(UnavailableError):
            meter.read(0.0)
    else:
        assert meter.read(0.0).watts == pytest.approx(watts)


@pytest.mark.parametrize(
    ("text", "watts"),
    [
        ("CPU Power: 457 mW\nGPU Power: 29 mW\nANE Power: 0 mW\nCombined Power (CPU + GPU + ANE): 486 mW\n", 0.486),
        ("ANE Power: 0 mW\nPackage Power: 8012 mW\n", 8.012),
        ("Intel energy model derived package power (CPUs+GT+SA): 48.61W\n", 48.61),
        ("powermetrics must be invoked as the superuser\n", None),
        ("CPU Power: 457 mW\n", None),
        ("Combined Power (CPU + GPU + ANE): lots\n", None),
        ("", None),
    ],
)
def test_powermetrics_of_several_versions(text: str, watts: float | None) -> None:
    assert powermetrics.parse_watts(text) == watts


def test_powermetrics_recorded_without_root_and_missing() -> None:
    assert PowermetricsMeter(recorded.runner("mac-m2")).read(0.0).watts == 13.047
    with pytest.raises(UnavailableError, match=r"superuser.*needs root"):
        PowermetricsMeter(says("powermetrics must be invoked as the superuser")).read(0.0)
    with pytest.raises(UnavailableError, match="not installed"):
        PowermetricsMeter(says(None)).read(0.0)


def test_batteries_in_watts_or_in_volts_and_amperes() -> None:
    assert BatteryMeter(recorded.root_of("x86-64-hybrid")).read(0.0).watts == 27.758
    assert BatteryMeter(recorded.root_of("x86-64-n100")).read(0.0).watts == pytest.approx(9.5256)


def test_battery_files_that_are_missing_forbidden_or_garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="no battery"):
        BatteryMeter(tmp_path)
    folder = copy_of("x86-64-n100", tmp_path) / "sys/class/power_supply/BAT0"
    meter = BatteryMeter(tmp_path / "x86-64-n100")
    (folder / "voltage_now").write_text("\n")
    with pytest.raises(UnavailableError, match="no number"):
        meter.read(0.0)
    (folder / "voltage_now").unlink()
    with pytest.raises(UnavailableError, match="does not exist"):
        meter.read(0.0)
    (folder / "voltage_now").write_text("12600000")
    (folder / "current_now").write_text("-756000")  # some drivers write a discharge as a negative current
    assert meter.read(0.0).watts == pytest.approx(9.5256)
    refuse(folder / "current_now", monkeypatch)
    with pytest.raises(UnavailableError, match="may not be read"):
        meter.read(0.0)
    (folder / "status").write_text("Charging\n")
    with pytest.raises(UnavailableError, match="not discharging"):
        meter.read(0.0)


@pytest.mark.parametrize(
    ("text", "watts"),
    [("6.4", 6.4), ("6.4 W\n", 6.4), ("6400mW", 6.4), ("0.0064 kW", 6.4), ("7", 7.0), ("", None), ("-3", None),
     ("6.4 W 7", None), ("nan", None), ("1e9", None), ("6,4", None), ("٣", None)],
)  # fmt: skip
def test_a_command_prints_watts_and_nothing_else(text: str, watts: float | None) -> None:
    assert command.parse_watts(text) == (None if watts is None else pytest.approx(watts))


def test_a_command_that_is_missing_or_prints_garbage() -> None:
    with pytest.raises(UnavailableError, match="not installed, hangs or may not be run"):
        CommandMeter(["usb-meter"], says(None)).read(0.0)
    with pytest.raises(UnavailableError, match="printed 'oops'"):
        CommandMeter(["usb-meter"], says("oops")).read(0.0)
    assert CommandMeter(["usb-meter", "--once"], says("3.25 W\n")).read(0.0).watts == 3.25


@pytest.mark.parametrize(
    ("payload", "watts"),
    [(b"6.4", 6.4), (b'{"watts": 6}', 6.0), (b'{"power": 6.1, "voltage": 230}', 6.1), (b'{"id":0,"apower":9.2}', 9.2),
     (b'{"Time":"x","ENERGY":{"Power":12,"Total":3.1}}', 12.0), (b"0", 0.0), (b"", None), (b"true", None),
     (b"[6]", None), (b'{"ENERGY":6}', None), (b'{"watts":"6"}', None), (b"NaN", None), (b"-1", None), (b"1e99", None),
     (b"[" * 4000, None), (b"\xff", None), (b"6" + b" " * 5000, None)],
)  # fmt: skip
def test_what_plugs_send(payload: bytes, watts: float | None) -> None:
    if watts is None:
        with pytest.raises(RequestError):
            pushed.parse_payload(payload)
    else:
        assert pushed.parse_payload(payload) == watts


@pytest.mark.parametrize(
    ("payload", "key", "watts"),
    [
        pytest.param(b'{"ENERGY": {"Power": 7}, "power": 1}', "ENERGY.Power", 7.0, id="the key, not the usual places"),
        pytest.param(b'{"params": {"switch:0": {"apower": 8.5}}}', "params.switch:0.apower", 8.5, id="Shelly's events"),
        pytest.param(b'{"emeters": [{"power": 1}, {"power": 2}]}', "emeters.1.power", 2.0, id="a place in an array"),
        pytest.param(b'{"emeters": []}', "emeters.0.power", None, id="beyond the array"),
        pytest.param(b'{"power": 3}', "watts", None, id="no such key"),
        pytest.param(b"3", "watts", None, id="a number alone where a key was named"),
        pytest.param(b'{"watts": {"now": 3}}', "watts", None, id="no number there"),
    ],
)
def test_where_the_watts_are_can_be_said(payload: bytes, key: str, watts: float | None) -> None:
    if watts is None:
        with pytest.raises(RequestError, match="is no power reading"):
            pushed.parse_payload(payload, key)
    else:
        assert pushed.parse_payload(payload, key) == watts


def test_pushed_readings_keep_their_time_and_grow_old() -> None:
    meter = PushedMeter("plug", stale_s=30)
    with pytest.raises(UnavailableError, match="not sent any"):
        meter.read(0.0)
    meter.push(6.5, 100.0)
    sample = meter.read(120.0)
    assert (sample.at_s + sample.took_s, sample.took_s) == (100.0, LAG_S)
    with pytest.raises(UnavailableError, match="for 31 s"):
        meter.read(131.0)
    for wrong in (-1.0, float("nan"), float("inf"), 1e6):
        with pytest.raises(RequestError):
            meter.push(wrong, 132.0)
