"""24 hours of mixed load, as fast as they go, against one real daemon: what it holds at each hour's end.

    edge-convert whisper ../shared/models/whisper-commands-hf --recordings ../shared/audio/commands --out COMMANDS
    python -m benchmarks.service.leak_rows COMMANDS ../shared/audio/commands ../shared/models/stories260k-f32.gguf

An hour is 360 requests, one for each ten seconds (`benchmarks.service.leak_load.MIX`): text, also streamed, cancelled,
refused and by schemas; vectors, search, recordings, live sound over WebSocket, a model that is loaded and unloaded,
pages, metrics, and commands over MQTT with telemetry each second where mosquitto is installed. What depends on the
clock rather than on requests (heartbeats, timers, telemetry) gets the time that the run takes, and no day.

An hour first warms up, and does not count. Then resident memory, file descriptors and threads of the daemon and of
each worker are read after each hour, when nothing runs. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.daemon import Daemon
from benchmarks.mqtt.mosquitto import Mosquitto, find_mosquitto, free_port
from benchmarks.process import children, proportional_bytes, resident_bytes
from benchmarks.report import Row, run_rows
from benchmarks.service.leak_load import CHAT, EMBED, SPARE, Load, an_hour

HOURS: Final = 24
BAR: Final = 0.03
SETTLE_S: Final = 10.0
"""Longest time after an hour until connections are closed and threads gone."""
DEVICE: Final = "device"
"""Of the commands' sender (`benchmarks.mqtt.command_rows`), which asks the model `tiny`."""
ASKED: Final = "tiny"
_MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a process holds."""

    pid: int
    resident_bytes: int
    own_bytes: int
    """Proportional set size: shared pages count once."""
    descriptors: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Course:
    """One process over the hours; the first is the end of the warm-up."""

    name: str
    held: tuple[Held, ...]

    @property
    def growth(self) -> float:
        """The farthest that resident memory was from the end of the warm-up, as a share of that; signed."""
        first = self.held[0].resident_bytes
        return max((one.resident_bytes / first - 1 for one in self.held), key=abs)

    @property
    def counts(self) -> tuple[set[int], set[int]]:
        """All numbers of descriptors, and all numbers of threads."""
        return {one.descriptors for one in self.held}, {one.threads for one in self.held}

    @property
    def kept(self) -> bool:
        """The same process all the time."""
        return len({one.pid for one in self.held}) == 1

    def trend(self) -> float:
        """Bytes of resident memory per hour, by least squares."""
        count = len(self.held)
        mean_hour, mean = (count - 1) / 2, sum(one.resident_bytes for one in self.held) / count
        spread = sum((hour - mean_hour) ** 2 for hour in range(count))
        rising = sum((hour - mean_hour) * (one.resident_bytes - mean) for hour, one in enumerate(self.held))
        return rising / spread if spread else 0.0


def judge(course: Course) -> Iterator[Row]:
    """Within 3%; descriptors and threads the same at each hour."""
    first, last = course.held[0], course.held[-1]
    yield Row(
        what=f"{course.name}: resident memory",
        bar=f"within {BAR:.0%} of the end of the warm-up",
        measured=f"{first.resident_bytes / _MIB:.1f} MiB, {last.resident_bytes / _MIB:.1f} at the end, farthest"
        f" {course.growth:+.1%}; {course.trend() / 1024:+.1f} KiB an hour" + ("" if course.kept else "; RESTARTED"),
        passed=course.kept and abs(course.growth) <= BAR,
        numbers={"held": [asdict(one) for one in course.held]},
    )
    descriptors, threads = course.counts
    yield Row(
        what=f"{course.name}: descriptors, threads",
        bar="the same at each hour's end",
        measured=f"{_range(descriptors)} descriptors, {_range(threads)} threads",
        passed=len(descriptors) == 1 and len(threads) == 1,
    )


def _range(numbers: set[int]) -> str:
    return str(min(numbers)) if len(numbers) == 1 else f"{min(numbers)} to {max(numbers)}"


def held(pid: int) -> Held:
    return Held(
        pid=pid,
        resident_bytes=resident_bytes(pid),
        own_bytes=proportional_bytes(pid),
        descriptors=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        threads=sum(1 for _ in Path(f"/proc/{pid}/task").iterdir()),
    )


def look(daemon: Daemon) -> dict[str, Held]:
    """Once nothing runs, nothing is open and no child but the workers is left; else as it is after `SETTLE_S`."""
    daemon.wait_until_idle(120)
    limit = time.monotonic() + SETTLE_S
    while True:
        pids = {model["name"]: model["pid"] for model in daemon.status()["runtime"]["models"] if model["pid"]}
        time.sleep(0.5)  # the connection of /status is closed by then
        found = {"daemon": held(daemon.pid), **{name: held(pid) for name, pid in pids.items() if name != SPARE}}
        strangers = set(children(daemon.pid)) - set(pids.values())
        if not strangers or time.monotonic() > limit:
            return found


async def _run_hour(load: Load, number: int, kinds: list[str], broker: str | None) -> None:
    async with AsyncExitStack() as stack:
        if broker is not None:
            from agent.fleet.topics import Topics
            from benchmarks.mqtt.command_rows import Sender

            load.commands = await stack.enter_async_context(Sender(broker, Topics("te", DEVICE)))
        await load.hour(kinds, number)


def day(whisper: Path, recordings: Path, spare: Path, *, hours: int, share: float) -> Iterator[Row]:
    """Warm up, then `hours`; `share` of each hour's requests (a smoke run takes less than all)."""
    with TemporaryDirectory(prefix="edge-agent-leak-") as name:
        executable, port = find_mosquitto(), free_port()
        broker: Mosquitto | None = None
        if executable is not None:
            lines = [f"listener {port} 127.0.0.1", "allow_anonymous true"]
            broker = Mosquitto(executable, Path(name), [port], lines)
            broker.start()
        try:
            yield from _day(whisper, recordings, spare, hours, share, f"mqtt://127.0.0.1:{port}" if broker else None)
        finally:
            if broker is not None:
                broker.kill()


def _daemon(whisper: Path, speech: str, spare: Path, broker: str | None) -> Daemon:
    stays = {"keep_alive_s": -1}
    tables = {CHAT: stays, EMBED: stays, speech: stays, ASKED: {**stays, "context_tokens": 512}, SPARE: stays}
    daemon = Daemon(models=tables, settings={"starter_models": "always"})
    if broker is not None:
        with daemon.config.open("a") as file:
            file.write(f'[mqtt]\nurl = "{broker}"\ndevice = "{DEVICE}"\n')
            file.write("[mqtt.operations.generate]\nper_hour = 100_000\n")
            file.write("[mqtt.telemetry.intervals_s]\nboard = 1\nengine = 1\nmodels = 1\nlink = 1\n")
            file.write("[mqtt.telemetry.heartbeats_s]\nboard = 1\nengine = 1\nmodels = 1\nlink = 1\n")
    daemon.import_model(whisper, speech)
    daemon.import_model(spare, SPARE)
    daemon.import_model(spare, ASKED)
    return daemon


def _day(whisper: Path, recordings: Path, spare: Path, hours: int, share: float, broker: str | None) -> Iterator[Row]:
    speech = json.loads((whisper / "manifest.json").read_text())["name"]
    with _daemon(whisper, speech, spare, broker) as daemon:
        staying = (CHAT, EMBED, speech, ASKED)
        for one in staying:
            daemon.wait_until_loaded(one)
        load = Load(daemon.port, recordings, speech)
        asyncio.run(load.prepare())
        courses: dict[str, list[Held]] = {}
        began = time.monotonic()
        for number in range(hours + 1):
            kinds = an_hour(number)
            asyncio.run(_run_hour(load, number, kinds[: round(len(kinds) * share)], broker))
            gc.collect()
            found = look(daemon)
            for one, now in found.items():
                courses.setdefault(one, []).append(now)
            print(_line(number, found, time.monotonic() - began), file=sys.stderr, flush=True)
        done, problems = sum(load.done.values()), load.problems
        yield Row(
            what=f"{hours} hours: {done:,} requests in {(time.monotonic() - began) / 60:.0f} min",
            bar="each answered as it should be",
            measured=f"{len(problems)} were not" + (f"; first: {problems[0]}" if problems else ""),
            passed=not problems,
            numbers={"done": dict(load.done), "problems": problems[:20], "mqtt": broker is not None},
        )
        for one in ("daemon", *staying):
            yield from judge(Course(name=one, held=tuple(courses[one])))


def _line(number: int, found: dict[str, Held], spent_s: float) -> str:
    parts = [f"{one} {now.resident_bytes / _MIB:.1f} MiB {now.descriptors}/{now.threads}" for one, now in found.items()]
    return f"hour {number:2} ({spent_s:.0f} s): " + ", ".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whisper", type=Path, help="a folder with a Whisper in ONNX")
    parser.add_argument("recordings", type=Path, help="a folder of recordings: 16-bit mono WAV at 16 kHz")
    parser.add_argument("spare", type=Path, help="a small GGUF model, to be loaded and unloaded")
    parser.add_argument("--hours", type=int, default=HOURS)
    parser.add_argument("--share", type=float, default=1.0, help="of each hour's requests")
    chosen = parser.parse_args(arguments)
    run = partial(day, chosen.whisper, chosen.recordings, chosen.spare, hours=chosen.hours, share=chosen.share)
    return 0 if run_rows({"day": run}, {"hours": chosen.hours, "share": chosen.share}) else 1


if __name__ == "__main__":
    sys.exit(main())
