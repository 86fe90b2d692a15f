"""The link: a thousand agents whose broker restarts, and what a link costs while nothing happens. Needs mosquitto."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.mqtt.mosquitto import Mosquitto, find_mosquitto, free_port
from benchmarks.process import cpu_s, resident_bytes
from benchmarks.report import Row

AGENTS = 1_000
PROCESSES = 4
IDLE_S = 60
AWAY_S = 2.0
_MB = 1_000_000
_ROOT = Path(__file__).resolve().parents[2]


class Child:
    """benchmarks/mqtt/link_child.py."""

    def __init__(self, url: str, first: int, count: int, *more: str) -> None:
        command = [sys.executable, "-m", "benchmarks.mqtt.link_child", url, str(first), str(count), *more]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT)

    def line(self) -> str:
        """Its next one. Raises `RuntimeError` where it has died."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise RuntimeError(f"an agents' process died with status {self.process.wait()}")
        return text.strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def _broker(folder: Path) -> tuple[Mosquitto, str]:
    executable = find_mosquitto()
    if executable is None:
        raise RuntimeError("mosquitto is not installed")
    port = free_port()
    lines = ["persistence true", "autosave_interval 1", f"listener {port} 127.0.0.1", "allow_anonymous true"]
    return Mosquitto(executable, folder, [port], lines), f"mqtt://127.0.0.1:{port}"


def reconnect(*, quick: bool) -> Iterator[Row]:
    """All are connected, the broker is killed with -9 and is back after two seconds."""
    count = AGENTS // 10 if quick else AGENTS
    share = count // PROCESSES
    with TemporaryDirectory() as folder:
        broker, url = _broker(Path(folder))
        broker.start()
        children = [Child(url, number * share, share) for number in range(PROCESSES)]
        try:
            for child in children:
                child.line()
            for child in children:
                child.go_on()
            killed = time.time()
            broker.kill()
            time.sleep(AWAY_S)
            broker.start()
            found: list[dict[str, Any]] = [json.loads(child.line()) for child in children]
            retained = _retained(url)
        finally:
            for child in children:
                child.end()
            broker.kill()
    times = sorted(at - killed for each in found for at in each["connected"])
    after = [at - AWAY_S for at in times]
    peak = max(Counter(int(at) for at in times).values())
    again = sum(payload == "up 2" for payload in retained)
    p50, p90 = times[len(times) // 2], times[len(times) * 9 // 10]
    yield Row(
        what=f"{count:,} agents, broker killed and restarted",
        bar="none lost, all announced, <= 35%/s",
        measured=f"{len(times):,} back, {again:,} announced again; after the kill p50 {p50:.1f} s, p90 {p90:.1f} s,"
        f" last {times[-1]:.1f} s; busiest second {peak}",
        passed=len(times) == count and again == count and peak <= 0.35 * count,
        numbers={"after_restart_s": after, "failed_attempts": sum(each["failed"] for each in found)},
    )


def _retained(url: str) -> list[str]:
    """Every device's health, as the broker has it now."""
    port = url.rpartition(":")[2]
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-W", "5", "--retained-only", "-F", "%p"]
    command += ["-t", "te/device/+/service/edge-agent/status/health"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")


def idle(*, quick: bool) -> Iterator[Row]:
    """One link that has nothing to do but to keep its line up, beside the same process without it."""
    seconds = IDLE_S // 6 if quick else IDLE_S
    with TemporaryDirectory() as folder:
        broker, url = _broker(Path(folder))
        broker.start()
        without, linked = Child(url, 0, 0, "idle"), Child(url, 0, 1, "idle")
        try:
            pids = [child.process.pid for child in (without, linked)]
            for child in (without, linked):
                child.line()
            time.sleep(1)
            before = [cpu_s(pid) for pid in pids]
            time.sleep(seconds)
            used = [cpu_s(pid) - start for pid, start in zip(pids, before, strict=True)]
            resident = [resident_bytes(pid) for pid in pids]
        finally:
            without.end()
            linked.end()
            broker.kill()
    share = max(0.0, used[1] - used[0]) / seconds
    more_bytes = resident[1] - resident[0]
    yield Row(
        what="a link with nothing to do",
        bar="<= 0.3% of a core, <= 10 MB",
        measured=f"{share:.3%} of a core over {seconds} s, {more_bytes / _MB:.1f} MB",
        passed=share <= 0.003 and more_bytes <= 10 * _MB,
        numbers={"cpu_s": used, "resident_bytes": resident, "seconds": seconds},
    )
