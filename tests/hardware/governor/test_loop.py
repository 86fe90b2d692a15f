"""Looking at a recorded board, setting its clock, and telling the runtime."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.errors import UnavailableError
from agent.hardware.governor.clock import ClockLimit
from agent.hardware.governor.decision import Bounds, Decision, Readings
from agent.hardware.governor.found_clock import FoundClock
from agent.hardware.governor.ladder import build
from agent.hardware.governor.loop import GovernorLoop
from agent.hardware.governor.policy import Governor
from agent.hardware.governor.watch import Watch, Work
from agent.hardware.sensors.power import PowerReading

BOUNDS = Bounds(soft_celsius=75.0, hard_celsius=82.0, hysteresis_celsius=5.0, batch_tokens=512)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def clocks(root: Path) -> Path:
    return write(
        root / "sys/devices/system/cpu/cpufreq",
        {
            "policy0/scaling_max_freq": "1800000\n",
            "policy4/scaling_max_freq": "2400000\n",
            "policy4/scaling_available_frequencies": "408000 1200000 1800000 2400000 2600000 \n",
        },
    )


def test_the_clock_is_lowered_in_proportion_and_given_back(tmp_path: Path) -> None:
    folder = clocks(tmp_path)
    limit = ClockLimit(tmp_path)
    assert limit.choices_mhz() == (2400, 1800, 1200, 408)
    limit.set(1200)
    assert [(folder / f"policy{number}/scaling_max_freq").read_text() for number in (0, 4)] == ["900000", "1200000"]
    limit.set(9000)  # never above what was found
    assert (folder / "policy4/scaling_max_freq").read_text() == "2400000"
    limit.set(408)
    limit.set(None)
    assert [(folder / f"policy{number}/scaling_max_freq").read_text() for number in (0, 4)] == ["1800000", "2400000"]


def limits(folder: Path) -> list[str]:
    return [(folder / f"policy{number}/scaling_max_freq").read_text().strip() for number in (0, 4)]


def test_what_a_killed_process_has_lowered_the_next_one_gives_back(tmp_path: Path) -> None:
    folder, file = clocks(tmp_path), tmp_path / "state/clock.json"
    killed = ClockLimit(tmp_path, memory=FoundClock(file, "this boot"))
    assert not file.exists()
    killed.set(1200)
    killed.set(408)
    assert limits(folder) == ["306000", "408000"]
    for _ in range(2):  # also where the next one is killed before it lowers anything
        following = ClockLimit(tmp_path, memory=FoundClock(file, "this boot"))
        assert (limits(folder), file.exists()) == (["1800000", "2400000"], False)
    assert following.choices_mhz()[0] == 2400
    following.set(1200)
    following.set(None)
    assert not file.exists()


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        pytest.param('{"boot_id": "another", "khz": {"policy4": 2600000}}', "2400000", id="of an earlier boot"),
        pytest.param('{"boot_id": "this boot", "khz": {"policy4": 1200000}}', "2400000", id="raised since then"),
        pytest.param('{"boot_id": "this boot", "khz": {"policy9": 1}}', "2400000", id="another policy"),
        pytest.param('{"boot_id": "this boot", "khz": {"policy4": "fast"}}', "2400000", id="no number"),
        pytest.param('{"boot_id": "this boot"', "2400000", id="half written"),
        pytest.param("[1]", "2400000", id="something else"),
        pytest.param('{"boot_id": "this boot", "khz": {"policy4": 2600000}}', "2600000", id="lowered by us"),
    ],
)
def test_what_is_remembered_is_only_believed_where_it_can_be(tmp_path: Path, left: str, expected: str) -> None:
    folder, file = clocks(tmp_path), tmp_path / "clock.json"
    file.write_text(left)
    ClockLimit(tmp_path, memory=FoundClock(file, "this boot"))
    assert limits(folder)[1] == expected


def test_a_state_folder_that_cannot_be_written_keeps_nobody_from_cooling_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = clocks(tmp_path)
    (tmp_path / "state").write_text("a file")
    limit = ClockLimit(tmp_path, memory=FoundClock(tmp_path / "state/clock.json", "this boot"))
    limit.set(1200)
    assert limits(folder) == ["900000", "1200000"]
    assert "stays low until a reboot" in caplog.text


def test_clocks_without_a_list_are_steps_of_200_mhz(tmp_path: Path) -> None:
    write(tmp_path, {"sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "3000000"})
    assert ClockLimit(tmp_path).choices_mhz() == (3000, 2800, 2600, 2400, 2200, 2000, 1800, 1600, 1400, 1200)


def test_a_clock_that_is_missing_garbage_or_forbidden_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnavailableError, match="no cpufreq"):
        ClockLimit(tmp_path)
    folder = clocks(tmp_path)
    (folder / "policy0/scaling_max_freq").write_text("fast")
    with pytest.raises(UnavailableError, match="no number"):
        ClockLimit(tmp_path)
    (folder / "policy0/scaling_max_freq").write_text("1800000")
    monkeypatch.setattr("agent.hardware.governor.clock.os.access", lambda file, mode: False)
    with pytest.raises(UnavailableError, match="may not be written"):
        ClockLimit(tmp_path)


class Plug:
    watts = 6.0

    def read(self) -> PowerReading | None:
        return PowerReading(watts=self.watts)


def test_the_watch_reads_heat_throttling_supply_memory_and_the_mean_of_work(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "71500\n",
            "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "80008\n",
            "sys/class/power_supply/BAT0/type": "Battery\n",
            "sys/class/power_supply/BAT0/status": "Discharging\n",
            "sys/class/power_supply/BAT0/capacity": "55\n",
            "proc/pressure/memory": "some avg10=0.00 avg60=9.00 avg300=0.00 total=0\n"
            "full avg10=0.00 avg60=7.50 avg300=0.00 total=0\n",
        },
    )
    now_s, work = [0.0], [Work(True, 0)]
    watch = Watch(lambda: work[0], meter=Plug(), root=root, clock=lambda: now_s[0])
    assert watch().watts is None  # nothing has passed yet
    now_s[0], work[0] = 2.0, Work(True, 50)
    seen = watch()
    assert (seen.celsius, seen.throttled, seen.on_mains, seen.battery_percent, seen.memory_stall_percent) == (
        71.5, ("soft temperature limit",), False, 55.0, 7.5,
    )  # fmt: skip
    assert (seen.watts, seen.tokens_per_s, seen.joules_per_token) == (6.0, 25.0, 0.24)
    now_s[0], work[0] = 60.0, Work(False, 50)
    assert watch().tokens_per_s == 25.0  # at rest it says nothing new


def test_a_machine_that_says_nothing_is_left_alone(tmp_path: Path) -> None:
    readings = Watch(lambda: Work(True, 1), root=tmp_path, clock=lambda: 5.0)()
    assert readings == Readings(now_s=5.0, busy=True)
    assert Governor(build(4, 4), BOUNDS).decide(readings).rung == 0


def test_x86_counts_how_often_it_throttled(tmp_path: Path) -> None:
    count = write(tmp_path, {"sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "7"})
    watch = Watch(lambda: Work(True, 1), root=tmp_path)
    assert watch().throttled == ()
    (count / "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count").write_text("8")
    assert watch().throttled == ("throttled",)
    assert watch().throttled == ()


async def test_the_loop_applies_what_changes_tries_again_and_gives_the_clock_back(tmp_path: Path) -> None:
    folder = clocks(tmp_path)
    limit = ClockLimit(tmp_path)
    celsius, now_s, applied, broken = [50.0], [0.0], list[Decision](), [True]

    async def apply(decision: Decision) -> None:
        if broken[0]:
            raise UnavailableError("The worker is restarting.")
        applied.append(decision)

    def read() -> Readings:
        now_s[0] += 10.0
        return Readings(now_s=now_s[0], busy=True, celsius=celsius[0])

    loop = GovernorLoop(Governor(build(4, 4, limit.choices_mhz()), BOUNDS), read, apply, clock_limit=limit, period_s=0)
    await loop.step()
    assert applied == []
    broken[0] = False
    await loop.step()
    await loop.step()
    assert [decision.rung for decision in applied] == [0]
    celsius[0] = 81.2
    await loop.step()
    assert (applied[-1].max_mhz, loop.changes) == (1800, 1)
    assert (folder / "policy4/scaling_max_freq").read_text() == "1800000"
    assert loop.decision is not None
    assert "81 °C" in loop.decision.reason

    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (folder / "policy4/scaling_max_freq").read_text() == "2400000"
