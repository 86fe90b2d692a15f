"""What requests notice of a backlog that drains beside them: a real daemon, a real broker. Needs mosquitto.

In turn nothing moves (the broker is stopped), the backlog drains, and as many bytes as that go from another process to
another broker: what the machine itself takes for that, with a sender that costs next to nothing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any, Final

from agent.fleet.telemetry.pace import BURST, BURST_EVERY_S
from agent.fleet.telemetry.sender import SenderOptions
from benchmarks.client import exchange_all
from benchmarks.daemon import Daemon
from benchmarks.models import shapes
from benchmarks.mqtt.mosquitto import Mosquitto, find_mosquitto, free_port
from benchmarks.mqtt.outbox_rows import fill
from benchmarks.process import resident_bytes
from benchmarks.report import Row
from benchmarks.serving.bench import completion, completion_tokens

SAMPLES: Final = 400_000
"""More than can go meanwhile."""
BAR: Final = 0.05
BAR_SAMPLES_S: Final = 5_000
BAR_BYTES: Final = 15_000_000
BLOCK_S: Final = 3 * BURST_EVERY_S
"""Each begins with a burst, and so has as many as it should."""
BLOCKS: Final = 14
"""Of each kind, in turn."""
REQUESTS: Final = (("tiny", 256), ("small", 24))
"""Shapes, and tokens of an answer."""
CONNECTING_S: Final = 60.0
_KINDS: Final = ("still", "draining", "raw")
_MS: Final = 1000.0
_MODEL: Final = "model"
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass
class Found:
    """Of each kind: seconds to the end of each answer and to its first text."""

    answers: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in _KINDS})
    firsts: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in _KINDS})
    drained: int = 0
    drained_s: float = 0.0
    sent: int = 0
    """Since the start."""
    resident: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in _KINDS})

    @property
    def samples_s(self) -> float:
        return self.drained / self.drained_s

    @property
    def grown_bytes(self) -> int:
        """The most while it drained above the first look."""
        return max(self.resident["draining"]) - self.resident["still"][0]


def serving(*, quick: bool) -> Iterator[Row]:
    """One client asks, again and again."""
    executable = find_mosquitto()
    if executable is None:
        raise RuntimeError("mosquitto is not installed")
    with TemporaryDirectory() as name:
        folder = Path(name)
        count = SAMPLES // 10 if quick else SAMPLES
        asyncio.run(fill(folder / "filled.db", count))
        for shape, tokens in REQUESTS:
            ports = free_port(), free_port()
            lines = ["allow_anonymous true", *(f"listener {port} 127.0.0.1" for port in ports)]
            broker = Mosquitto(executable, folder / "broker", ports[:1], lines[:2])
            other = Mosquitto(executable, folder / "other", ports[1:], [lines[0], lines[2]])
            daemon = Daemon(models={_MODEL: {"context_tokens": 8192, "slots": 2, "keep_alive_s": -1}})
            with daemon.config.open("a") as file:
                file.write(f'[mqtt]\nurl = "mqtt://127.0.0.1:{ports[0]}"\ndevice = "bench"\n')
                file.write("reconnect_first_s = 0.5\nreconnect_cap_s = 1\n[mqtt.telemetry]\ncap_mb = 256\n")
            daemon.import_model(shapes.ensure(shape, "F32", folder), _MODEL)
            outbox = daemon.state_dir / "mqtt" / "telemetry.db"
            outbox.parent.mkdir(parents=True)
            shutil.copy(folder / "filled.db", outbox)
            with daemon:
                daemon.wait_until_loaded(_MODEL)
                try:
                    with _raw(other, ports[1]) as raw:
                        found = _measured(daemon, broker, raw, tokens, 2 if quick else BLOCKS)
                finally:
                    broker.kill()
            yield _row(found, shape, tokens, left=count - found.sent)


def _row(found: Found, shape: str, tokens: int, *, left: int) -> Row:
    answers, firsts = found.answers, found.firsts
    p50, first, p95, mean = (
        {kind: of(times[kind]) * _MS for kind in _KINDS}
        for times, of in ((answers, median), (firsts, median), (answers, _p95), (answers, fmean))
    )
    slower = {kind: p50[kind] / p50["still"] - 1 for kind in _KINDS}
    first_slower = first["draining"] / first["still"] - 1
    return Row(
        what=f"requests while a backlog drains: {shape}, {tokens} tokens",
        bar=f"p50 <= {BAR:.0%} slower, >= {BAR_SAMPLES_S:,} samples/s, <= {BAR_BYTES / 1e6:.0f} MB",
        measured=f"p50 {p50['still']:.1f} ms, draining {p50['draining']:.1f} ms ({slower['draining']:+.1%});"
        f" p95 {p95['still']:.1f} and {p95['draining']:.1f} ms ({p95['draining'] / p95['still'] - 1:+.1%});"
        f" mean {mean['draining'] / mean['still'] - 1:+.1%};"
        f" first text {first['still']:.2f} and {first['draining']:.2f} ms ({first_slower:+.1%});"
        f" {found.samples_s:,.0f} samples/s, {found.grown_bytes / 1e6:.1f} MB more;"
        f" as many bytes from another process: p50 {slower['raw']:+.1%}, p95 {p95['raw'] / p95['still'] - 1:+.1%},"
        f" mean {mean['raw'] / mean['still'] - 1:+.1%};"
        f" {len(answers['still'])}, {len(answers['draining'])} and {len(answers['raw'])} requests",
        passed=max(slower["draining"], first_slower) <= BAR
        and found.samples_s >= BAR_SAMPLES_S
        and found.grown_bytes <= BAR_BYTES
        and left > 0,
        numbers={
            "p50_ms": p50,
            "p95_ms": p95,
            "mean_ms": mean,
            "first_ms": first,
            "drained": found.drained,
            "samples_per_s": found.samples_s,
            "left": left,
            "grown_bytes": found.grown_bytes,
        },
    )


def _measured(daemon: Daemon, broker: Mosquitto, raw: subprocess.Popen[bytes], tokens: int, blocks: int) -> Found:
    _ask_for(daemon, 2.0, tokens)  # warm
    broker.start()
    with _busy(daemon, tokens):  # the backlog of an idle device would be gone in a second
        give_up = time.monotonic() + CONNECTING_S
        while not _mqtt(daemon)["connected"]:
            if time.monotonic() > give_up:
                raise TimeoutError("the daemon did not connect")
            time.sleep(0.02)
        broker.pause()
    found = Found()
    for number in range(blocks):
        for offset in range(len(_KINDS)):
            kind = _KINDS[(number + offset) % len(_KINDS)]
            before, began = _sent(daemon), time.perf_counter()
            if kind == "draining":
                broker.go_on()
            elif kind == "raw":
                raw.send_signal(signal.SIGCONT)
            times = _ask_for(daemon, BLOCK_S, tokens)
            broker.pause()
            raw.send_signal(signal.SIGSTOP)
            found.answers[kind] += [whole for whole, _ in times]
            found.firsts[kind] += [first for _, first in times]
            found.resident[kind].append(resident_bytes(daemon.pid))
            if kind == "draining":
                found.drained_s += time.perf_counter() - began
                found.sent = _sent(daemon)
                found.drained += found.sent - before
    return found


@contextmanager
def _raw(broker: Mosquitto, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Stopped, until somebody lets it go on."""
    size_bytes = SenderOptions().message_bytes
    arguments = [str(one) for one in (port, size_bytes, BURST, BURST_EVERY_S)]
    command = [sys.executable, "-m", "benchmarks.mqtt.raw_publisher", *arguments]
    broker.start()
    try:
        process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"connected\n":
                raise RuntimeError("the publisher did not connect")
            os.kill(process.pid, signal.SIGSTOP)
            yield process
        finally:
            process.kill()
            process.wait()
    finally:
        broker.kill()


@contextmanager
def _busy(daemon: Daemon, tokens: int) -> Iterator[None]:
    """Two others ask all the time."""
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            _ask_for(daemon, 0.1, tokens)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def _ask_for(daemon: Daemon, seconds: float, tokens: int) -> list[tuple[float, float]]:
    """One request after the other; of each the seconds to its end and to its first text."""
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        exchange = completion("Once upon a time", tokens, model=_MODEL)
        exchange_all(daemon.port, [exchange], timeout_s=60)
        completion_tokens(exchange)
        found.append((exchange.closed_at - exchange.sent_at, exchange.first_text_s))
    return found


def _p95(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


def _mqtt(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = daemon.status()["mqtt"]
    return found


def _sent(daemon: Daemon) -> int:
    """Samples, since the start; what is on the disk is not counted down at once."""
    return int(_mqtt(daemon)["telemetry"]["sent_samples"])
