"""Telemetry: draining a backlog, a month without a broker, wear. Needs mosquitto."""

from __future__ import annotations

import asyncio
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.fleet.telemetry.alarms import Rule
from agent.fleet.telemetry.clock import Clock
from agent.fleet.telemetry.outbox import Outbox
from agent.fleet.telemetry.own import OwnSource
from agent.fleet.telemetry.raised import RaisedAlarms
from agent.fleet.telemetry.rules import MEASURED, alarm_rules
from agent.fleet.telemetry.sample import Kind, Values
from agent.fleet.telemetry.sampler import ALARM, Sampler
from agent.fleet.telemetry.source import Look, Reading, Source
from agent.fleet.telemetry.state import OutboxLimits, OutboxState
from agent.fleet.topics import Topics
from benchmarks.mqtt.mosquitto import Mosquitto, find_mosquitto, free_port
from benchmarks.report import Row

SAMPLES = 100_000
DAYS = 30
DAY_S = 86_400.0
WATCH_S = 15.0
_MB = 1_000_000
_MIB = 1024 * 1024
_TOPICS = Topics("te", "bench")
_ROOT = Path(__file__).resolve().parents[2]


def _broker(folder: Path) -> tuple[Mosquitto, str]:
    """Saves each change at once: what it has confirmed survives its end."""
    executable = find_mosquitto()
    if executable is None:
        raise RuntimeError("mosquitto is not installed")
    port = free_port()
    lines = ["persistence true", "autosave_on_changes true", "autosave_interval 1", f"listener {port} 127.0.0.1"]
    return Mosquitto(executable, folder, [port], [*lines, "allow_anonymous true"]), f"mqtt://127.0.0.1:{port}"


@dataclass
class Device:
    """A board and an engine that are made up. With `restless`, every look finds something new; else what changes is
    what changes on an idle board: a room that is warmer at noon, a sensor that flutters."""

    restless: bool
    noise: random.Random = field(default_factory=lambda: random.Random(7))
    up_s: float = 1000.0
    celsius: float = 50.0
    requests: int = 0

    @property
    def clock(self) -> Clock:
        return Clock(boot="made-up", wall=lambda: 1.7e9 + self.up_s, up=lambda: self.up_s)

    def temperature(self) -> float:
        """Each third day it is too hot for an hour."""
        day, hour = divmod(self.up_s / DAY_S, 1.0)
        if int(day) % 3 == 2 and 0.5 < hour < 0.5 + 1 / 24:
            return 85.0
        return 50 + 6 * math.sin(2 * math.pi * hour) + self.noise.gauss(0, 5 if self.restless else 0.4)

    def board(self) -> Values:
        free = int(6e9 + self.noise.gauss(0, 4e8 if self.restless else 3e7))
        return {
            "cpu_percent": round(abs(self.noise.gauss(40 if self.restless else 2, 30 if self.restless else 1)), 1),
            "cpu_mhz": self.noise.choice([600, 1500, 2400]),
            "temperature_celsius": round(self.temperature(), 1),
            "throttled": False,
            "memory_available_bytes": free,
            "memory_total_bytes": 8_000_000_000,
            "memory_pressure_percent": 0.0,
            "disk_free_bytes": 20_000_000_000 + self.noise.randrange(10_000_000),
            "disk_total_bytes": 64_000_000_000,
            "power_watts": round(4 + abs(self.noise.gauss(0, 1 if self.restless else 0.05)), 2),
        }

    def engine(self) -> Values:
        self.requests += self.noise.randrange(1, 5) if self.restless else 0
        return {
            **dict.fromkeys(("failed", "cancelled", "expired", "rejected", "running", "waiting", "crashes"), 0),
            "requests": self.requests,
            "completed": self.requests,
            "prompt_tokens": self.requests * 311,
            "completion_tokens": self.requests * 127,
            "memory_available_bytes": 5_000_000_000 + self.noise.randrange(100_000_000),
            "tokens_per_second": round(self.noise.gauss(10, 1), 2) if self.restless else None,
            "first_token_s": round(abs(self.noise.gauss(1, 0.2)), 3) if self.restless else None,
        }


@dataclass
class Part:
    """One source of the made-up device."""

    type: str
    device: Device

    async def read(self) -> Values:
        return self.device.board() if self.type == "board" else self.device.engine()

    async def look(self) -> Look:
        return Look({"temperature_celsius": Reading(self.device.temperature())} if self.type == "board" else {})


@dataclass(frozen=True)
class Heat:
    hard_limit_celsius: float = 82.0
    hysteresis_celsius: float = 5.0


def drain(*, quick: bool) -> Iterator[Row]:
    """Three types, written to the disk before; then the broker is there. The peak of memory is above that of the
    process once it is connected."""
    count = SAMPLES // 10 if quick else SAMPLES
    with TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.db"
        asyncio.run(fill(path, count))
        broker, url = _broker(Path(folder) / "broker")
        broker.start()
        try:
            command = [sys.executable, "-m", "benchmarks.mqtt.outbox_child", url, str(path)]
            done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=600, check=True)
        finally:
            broker.kill()
    found: dict[str, Any] = json.loads(done.stdout)
    rate, grown = found["samples"] / found["seconds"], found["grown_bytes"]
    yield Row(
        what=f"a backlog of {count:,} samples, local broker",
        bar=">= 5,000 samples/s, <= 15 MB more",
        measured=f"{rate:,.0f}/s in {found['messages']:,} messages, {found['cpu_s'] / found['samples'] * 1e6:.0f} us of"
        f" CPU a sample, {grown / _MB:.1f} MB more, the loop waited {found['loop_lag_s'] * 1e3:.0f} ms at most",
        passed=found["samples"] == count and rate >= 5_000 and grown <= 15 * _MB,
        numbers=found,
    )


async def fill(path: Path, count: int) -> None:
    """An outbox with so many samples of three types in its database."""
    device = Device(restless=True)
    outbox = Outbox(path, clock=device.clock, limits=OutboxLimits(cap_bytes=256 * _MIB, flush_s=300))
    await outbox.open()
    for number in range(count):
        outbox.record(Kind.MEASUREMENT, ("board", "engine", "power")[number % 3], device.board())
        device.up_s += 1
        if number % 100 == 0:
            await outbox.maintain()
    await outbox.close()


@dataclass(frozen=True)
class Month:
    """How a month ended: what is left by type, and what the consumer would be told of drops."""

    state: OutboxState
    most_bytes: int
    newest: dict[str, float]
    """Age of each type's newest sample, in seconds."""
    alarms_made: int
    alarms_left: int
    told: dict[str, Any]


async def _month(folder: Path, device: Device, *, days: float, cap_bytes: int, linked: bool = False) -> Month:
    """`linked`: everything that is recorded is confirmed at once, as by a broker that is always there."""
    path = folder / "outbox.db"
    outbox = Outbox(path, clock=device.clock, limits=OutboxLimits(cap_bytes=cap_bytes))
    await outbox.open()
    rules: tuple[Rule, ...] = alarm_rules(Heat())
    sources: list[Source] = [Part("board", device), Part("engine", device), OwnSource(outbox)]
    sampler = Sampler(
        sources,
        outbox,
        measured=MEASURED,
        rules=rules,
        raised=RaisedAlarms(_TOPICS, [rule.name for rule in rules]),
        watch_s=WATCH_S,
        clock=device.clock,
    )
    end, most, written_at = device.up_s + days * DAY_S, 0, -1
    while device.up_s < end:
        wait_s = await sampler.step()
        await outbox.maintain()
        if linked:
            for line in outbox.lines():
                outbox.confirm(line.name, line.newest)
        if outbox.state.written.commits != written_at:
            written_at = outbox.state.written.commits
            most = max(most, _folder_bytes(folder))
        device.up_s += wait_s
    newest: dict[str, float] = {}
    left: dict[str, list[Any]] = {}
    for line in outbox.lines():
        after, lines = line.confirmed, []
        while (run := await outbox.read(line.name, after, 1 << 20)) is not None:
            lines += run.lines if line.name in (ALARM, "telemetry") else run.lines[-1:]
            after = run.last
        left[line.name] = [json.loads(one) for one in lines]
        if lines:
            newest[line.name] = device.up_s - left[line.name][-1]["up"]
    state = outbox.state
    made = outbox.line(ALARM)
    await outbox.close()
    return Month(
        state=state,
        most_bytes=most,
        newest=newest,
        alarms_made=made.newest if made else 0,
        alarms_left=len(left.get(ALARM, [])),
        told=left["telemetry"][-1].get("dropped", {}) if left.get("telemetry") else {},
    )


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def month(*, quick: bool) -> Iterator[Row]:
    """Simulated: the clock is ours, nothing sleeps. Default intervals and deadbands; the last row has so small a cap
    that most must go."""
    days = DAYS / 10 if quick else DAYS
    for name, restless, cap_bytes in (
        ("an idle board", False, 16 * _MIB),
        ("a restless board", True, 16 * _MIB),
        ("a restless board, cap 4 MiB", True, 4 * _MIB),
    ):
        with TemporaryDirectory() as folder:
            started = time.perf_counter()
            found = asyncio.run(_month(Path(folder), Device(restless), days=days, cap_bytes=cap_bytes))
        hours, state = days * 24, found.state
        late = max(found.newest[type] for type in ("board", "engine", "telemetry"))
        dropped = sum(state.dropped.values())
        told = sum(found.told.values())
        yield Row(
            what=f"{days:g} days without a broker, {name}",
            bar="cap, newest, alarms; drops told",
            measured=f"{found.most_bytes / _MIB:.1f} MiB at most; {state.samples:,} samples kept, {dropped:,} dropped"
            f" ({told:,} told), newest {late / 60:.0f} min old, {found.alarms_left} of {found.alarms_made} alarms;"
            f" {state.written.commits / hours:.1f} writes/h, {state.written.bytes / hours / 1e3:.0f} kB/h",
            passed=found.most_bytes <= cap_bytes
            and late <= 3600
            and found.alarms_left == found.alarms_made > 0
            and (told >= 0.7 * dropped),
            numbers={
                "most_bytes": found.most_bytes,
                "samples": state.samples,
                "dropped": state.dropped,
                "told": found.told,
                "written": asdict(state.written),
                "seconds": time.perf_counter() - started,
            },
        )
    with TemporaryDirectory() as folder:
        found = asyncio.run(_month(Path(folder), Device(restless=True), days=1, cap_bytes=16 * _MIB, linked=True))
    written = found.state.written
    yield Row(
        what="a day with a broker, a restless board",
        bar="<= 1 write/h",
        measured=f"{written.commits / 24:.2f} writes/h, {written.bytes / 24e3:.1f} kB/h",
        passed=written.commits <= 24,
        numbers={"written": asdict(written)},
    )
