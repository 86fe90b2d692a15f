"""Which meter counts, and what a person is told about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import UnavailableError
from agent.hardware.power.choose import choose_meter
from agent.hardware.power.nvidia import Nvml
from agent.hardware.power.pushed import PushedMeter
from agent.hardware.power.supply import Supply, read_supply
from tests.hardware import recorded


def no_nvml() -> Nvml:
    raise UnavailableError("libnvidia-ml.so.1 is not installed: no NVIDIA driver.")


@pytest.mark.parametrize(
    ("board", "wanted", "source", "reason"),
    [
        ("pi-5", "pmic", "Raspberry Pi 5 power chip (vcgencmd pmic_read_adc)", "the rails of the board"),
        ("pi-4", "pmic", None, "Nothing measures power here. pmic: vcgencmd is not installed"),
        ("pi-4", "none", None, "The profile says that this board has no meter"),
        ("jetson-orin-nano", "ina3221", "INA3221, VDD_IN", "the whole module"),
        ("x86-64-avx2", "rapl", "RAPL, package-0 + dram", "the processor and its memory"),
        ("x86-64-n100", "rapl", "battery", "The profile's meter does not work here. rapl: No RAPL counters"),
        ("x86-64-hybrid", "nvml", "RAPL, package-0", "nvml: libnvidia-ml.so.1 is not installed"),
        ("mac-m2", "powermetrics", "powermetrics", "an estimate of Apple's"),
        ("mac-m4", "powermetrics", None, "powermetrics is not installed"),
        ("x86-64-sse", "rapl", None, "rapl: No RAPL counters"),
        ("x86-64-sse", "sundial", None, "There is no meter sundial"),
    ],
)
def test_the_profile_s_meter_or_what_works_instead(board: str, wanted: str, source: str | None, reason: str) -> None:
    choice = choose_meter(wanted, recorded.root_of(board), run=recorded.runner(board), nvml=no_nvml)
    assert (choice.meter and choice.meter.source) == source
    assert reason in choice.reason


def test_what_the_user_gives_comes_first(tmp_path: Path) -> None:
    choice = choose_meter("none", tmp_path, run=lambda command: "6.2 W", command=["plug-watts"])
    assert (choice.reason, choice.meter is not None) == ("command plug-watts, as configured.", True)
    broken = choose_meter("none", tmp_path, run=lambda command: None, command=["plug-watts"])
    assert broken.meter is not None
    assert "may not be run" in broken.reason
    plug = PushedMeter("topic plugs/pi", stale_s=120)
    chosen = choose_meter("pmic", tmp_path, pushed=plug)
    assert (chosen.meter, chosen.longest_gap_s) == (plug, 120)  # a plug that speaks once a minute is no gap


@pytest.mark.parametrize(
    ("files", "supply"),
    [
        ({}, Supply()),
        ({"AC/type": "Mains", "AC/online": "1"}, Supply(on_mains=True)),
        ({"AC/type": "Mains", "AC/online": "0"}, Supply()),
        ({"B/type": "Battery", "B/status": "Full", "B/capacity": "100"}, Supply(on_mains=True, battery_percent=100.0)),
        ({"B/type": "Battery", "B/status": "Unknown", "B/capacity": "40", "A/type": "Mains", "A/online": "0"},
         Supply(on_mains=False, battery_percent=40.0)),
        ({"B/type": "Battery", "B/status": "Discharging", "B/capacity": "full"}, Supply(on_mains=False)),
        ({"B/type": "Battery", "B/present": "0", "B/status": "Unknown", "B/capacity": "0"}, Supply()),
        ({"B/type": "\x00", "B/status": "Discharging"}, Supply()),
    ],
)  # fmt: skip
def test_where_the_power_comes_from(tmp_path: Path, files: dict[str, str], supply: Supply) -> None:
    for name, text in files.items():
        path = tmp_path / "sys/class/power_supply" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert read_supply(tmp_path) == supply


def test_a_laptop_s_own_battery_and_not_the_mouse_s() -> None:
    assert read_supply(recorded.root_of("x86-64-hybrid")) == Supply(on_mains=False, battery_percent=9.0)
