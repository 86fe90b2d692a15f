"""What requests notice of a backlog that drains beside them: a real daemon, a real broker. Needs mosquitto."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import shapes
from benchmarks.bench import completion, completion_tokens
from benchmarks.client import exchange_all
from benchmarks.daemon import Daemon
from benchmarks.mosquitto import Mosquitto, find_mosquitto, free_port
from benchmarks.mqtt_outbox_rows import fill
from benchmarks.report import Row

SAMPLES: Final = 100_000
BAR: Final = 0.05
BLOCK_S: Final = 2.0
BLOCKS: Final = 45
"""Of each kind, in turn."""
TOKENS: Final = 256
CONNECTING_S: Final = 60.0
_MS: Final = 1000.0
_MODEL: Final = "tiny"


def serving(*, quick: bool) -> Iterator[Row]:
    """One client asks, again and again. In turn the broker is stopped (nothing moves) and takes what the backlog
    brings, on the same connection."""
    executable = find_mosquitto()
    if executable is None:
        raise RuntimeError("mosquitto is not installed")
    count, blocks = (SAMPLES // 10, 2) if quick else (SAMPLES, BLOCKS)
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true"]
        broker = Mosquitto(executable, folder / "broker", [port], lines)
        daemon = Daemon(models={_MODEL: {"context_tokens": 8192, "slots": 2, "keep_alive_s": -1}})
        with daemon.config.open("a") as file:
            file.write(f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\ndevice = "bench"\n')
            file.write("reconnect_first_s = 0.5\nreconnect_cap_s = 1\n")
        daemon.import_model(shapes.ensure("tiny", "F32", folder), _MODEL)
        outbox = daemon.state_dir / "mqtt" / "telemetry.db"
        outbox.parent.mkdir(parents=True)
        asyncio.run(fill(outbox, count))
        with daemon:
            daemon.wait_until_loaded(_MODEL)
            try:
                yield _measured(daemon, broker, count, blocks)
            finally:
                broker.kill()


def _measured(daemon: Daemon, broker: Mosquitto, count: int, blocks: int) -> Row:
    _ask_for(daemon, 2.0)  # warm
    broker.start()
    with _busy(daemon):  # the backlog of an idle device would be gone in a second
        give_up = time.monotonic() + CONNECTING_S
        while not _mqtt(daemon)["connected"]:
            if time.monotonic() > give_up:
                raise TimeoutError("the daemon did not connect")
            time.sleep(0.02)
        broker.pause()
    times: dict[str, list[tuple[float, float]]] = {"still": [], "draining": []}
    drained = 0
    for _ in range(blocks):
        broker.pause()
        times["still"] += _ask_for(daemon, BLOCK_S)
        before = _waiting(daemon)
        broker.go_on()
        times["draining"] += _ask_for(daemon, BLOCK_S)
        drained += before - _waiting(daemon)
    left = _waiting(daemon)
    whole, first = (
        {how: median(one[index] for one in found) * _MS for how, found in times.items()} for index in (0, 1)
    )
    slower = {name: p50["draining"] / p50["still"] - 1 for name, p50 in (("answer", whole), ("first token", first))}
    return Row(
        what=f"requests while {count:,} samples drain",
        bar=f"p50 <= {BAR:.0%} slower",
        measured=f"{TOKENS} tokens: {whole['still']:.1f} ms, draining {whole['draining']:.1f} ms"
        f" ({slower['answer']:+.1%}); first token {first['still']:.2f} ms, draining {first['draining']:.2f} ms"
        f" ({slower['first token']:+.1%}); {len(times['still'])} and {len(times['draining'])} requests,"
        f" {drained / blocks / BLOCK_S:,.0f} samples/s meanwhile, {left:,} left",
        passed=max(slower.values()) <= BAR and drained > 0 and left > 0,
        numbers={"p50_ms": {"answer": whole, "first_token": first}, "slower": slower, "drained": drained, "left": left},
    )


@contextmanager
def _busy(daemon: Daemon) -> Iterator[None]:
    """Two others ask all the time."""
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            _ask_for(daemon, 0.1)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def _ask_for(daemon: Daemon, seconds: float) -> list[tuple[float, float]]:
    """One request after the other; of each the seconds to its end and to its first text."""
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        exchange = completion("Once upon a time", TOKENS, model=_MODEL)
        exchange_all(daemon.port, [exchange], timeout_s=60)
        completion_tokens(exchange)
        found.append((exchange.closed_at - exchange.sent_at, exchange.first_text_s))
    return found


def _mqtt(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = daemon.status()["mqtt"]
    return found


def _waiting(daemon: Daemon) -> int:
    return int(_mqtt(daemon)["telemetry"]["outbox"]["samples"])
