"""The governor in the daemon: what its sensors say reaches the workers, and when it is off it says why."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent.energy_side import Energy
from agent.fleet.telemetry.governor import GovernorSource
from agent.governor_side import BLIND, CLOCK, Governing
from agent.hardware.governor.decision import Bounds
from agent.hardware.power.choose import Choice
from agent.hardware.power.meter import PowerSample
from agent.runtime.throttle import FULL_SPEED, Throttle
from agent.settings import Settings
from agent.speech.cadence import Cadence
from tests.daemon_process import running_daemon

BOUNDS = Bounds(soft_celsius=75.0, hard_celsius=82.0, hysteresis_celsius=5.0, batch_tokens=512)
NO_METER = Choice(meter=None, reason="Nothing measures power here.")


@dataclass
class Workers:
    """Keeps what it is told."""

    told: list[Throttle] = field(default_factory=list)
    tokens: int = 0

    def throttle(self, throttle: Throttle) -> None:
        self.told.append(throttle)

    def work(self) -> tuple[int, int]:
        self.tokens += 10
        return 1, self.tokens


@dataclass
class Plug:
    watts: float = 9.0
    source: str = "plug"
    scope: str = "everything"
    quick: bool = False

    def read(self, now_s: float) -> PowerSample:
        return PowerSample(at_s=now_s, watts=self.watts)


def heat(root: Path, celsius: float) -> None:
    zone = root / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "type").write_text("cpu-thermal\n")
    (zone / "temp").write_text(f"{celsius * 1000:.0f}\n")


def clock(root: Path) -> Path:
    folder = root / "sys/devices/system/cpu/cpufreq/policy0"
    folder.mkdir(parents=True)
    (folder / "scaling_max_freq").write_text("2400000\n")
    return folder / "scaling_max_freq"


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@asynccontextmanager
async def governed(
    root: Path, workers: Workers, settings: Settings, *, choice: Choice = NO_METER, cadence: Cadence | None = None
) -> AsyncIterator[Governing]:
    energy = Energy(lambda: choice)
    governing = Governing(
        workers,
        energy,
        cadence or Cadence(),
        settings,
        bounds=BOUNDS,
        threads=4,
        threads_batch=4,
        root=root,
        period_s=0.005,
    )
    tasks = [asyncio.create_task(energy.run()), asyncio.create_task(governing.run())]
    try:
        yield governing
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def settings_of(tmp_path: Path, **fields: object) -> Settings:
    return replace(Settings(state_dir=tmp_path), **fields)  # type: ignore[arg-type]


async def test_a_board_at_the_hard_limit_takes_no_new_work_and_is_given_back_afterwards(tmp_path: Path) -> None:
    heat(tmp_path, 85)
    limit, workers, cadence = clock(tmp_path), Workers(), Cadence()
    async with governed(tmp_path, workers, settings_of(tmp_path), cadence=cadence) as governing:
        await until(lambda: workers.told and not workers.told[-1].admit)
        status = governing.status()
        assert (status["mode"], status["cause"], status["admit"]) == ("balanced", "heat", False)
        assert status["reason"] == "85 °C, at the hard limit of 82 °C: no new work."
        assert governing.celsius == 85
        assert limit.read_text() != "2400000\n"
        assert (await GovernorSource(governing).read())["cause"] == "heat"
        heat(tmp_path, 60)
        await until(lambda: workers.told[-1].admit)
    assert workers.told[-1] == FULL_SPEED
    assert (limit.read_text(), cadence.ratio) == ("2400000", 1.0)


async def test_the_clock_that_a_killed_daemon_has_lowered_is_given_back_also_without_a_governor(tmp_path: Path) -> None:
    limit = clock(tmp_path)
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("0f9e8d7c-1111-2222-3333-444455556666\n")
    limit.write_text("1000000")
    (tmp_path / CLOCK).write_text('{"boot_id": "0f9e8d7c-1111-2222-3333-444455556666", "khz": {"policy0": 2400000}}')
    settings = settings_of(tmp_path, governor_mode="off")
    async with governed(tmp_path, Workers(), settings):
        await until(lambda: limit.read_text() == "2400000")


@pytest.mark.parametrize(
    ("fields", "mode", "reason"),
    [
        ({}, "off", BLIND),
        ({"governor_mode": "off"}, "off", "Switched off by governor_mode."),
        ({"governor_mode": "balanced"}, "balanced", "Nothing holds it back: full speed."),
        ({"governor_mode": "quiet"}, "quiet", "Nothing holds it back: full speed."),
    ],
    ids=["nothing to go by", "off", "asked for", "quiet"],
)
async def test_a_board_without_sensors(tmp_path: Path, fields: dict[str, object], mode: str, reason: str) -> None:
    async with governed(tmp_path, Workers(), settings_of(tmp_path, **fields)) as governing:
        await until(lambda: governing.status()["reason"] == reason)
        assert governing.status()["mode"] == mode
        assert (governing.decision is None) == (mode == "off")


async def test_a_meter_alone_is_enough_and_a_target_is_held(tmp_path: Path) -> None:
    workers = Workers()
    choice = Choice(meter=Plug(), reason="plug")
    async with governed(tmp_path, workers, settings_of(tmp_path), choice=choice) as governing:
        await until(lambda: governing.decision is not None)
        assert governing.status()["rung"] == 0
        governing.apply(settings_of(tmp_path, power_target_watts=5.0))
        await until(lambda: governing.status().get("cause") == "power")
        assert "to be held below 5 W" in governing.status()["reason"]
        await until(lambda: workers.told[-1].pause_ratio > 0 or workers.told[-1].threads)
        governing.apply(settings_of(tmp_path, governor_mode="off"))
        await until(lambda: governing.status()["mode"] == "off")
        assert workers.told[-1] == FULL_SPEED


async def test_limits_that_cannot_be_are_said(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, governor_mode="balanced")
    wrong = replace(BOUNDS, soft_celsius=90.0)
    energy = Energy(lambda: NO_METER)
    governing = Governing(
        Workers(), energy, Cadence(), settings, bounds=wrong, threads=4, threads_batch=4, root=tmp_path
    )
    energy.chosen.set()
    running = asyncio.create_task(governing.run())
    await until(lambda: "soft limit" in governing.status()["reason"])
    assert governing.status()["mode"] == "off"
    running.cancel()


def test_a_daemon_tells_what_it_decided_and_a_reload_changes_the_mode(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('governor_mode = "balanced"\n')
    with running_daemon(tmp_path, ["--config", str(config)]) as daemon:
        daemon.wait_for_log("governor")
        assert daemon.get("/status")[1]["governor"]["mode"] == "balanced"
        config.write_text('governor_mode = "off"\n')
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("Switched off by governor_mode.")
        assert daemon.get("/status")[1]["governor"]["mode"] == "off"
