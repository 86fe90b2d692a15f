"""Workers that are killed, frozen and crashed in the middle of streams; more requests than there is room for."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import process
from benchmarks.client import Exchange, exchange_all
from benchmarks.daemon import Daemon
from benchmarks.report import Row
from benchmarks.serving.bench import completion

_MODEL = "tiny"
_SLOTS = 4
_QUEUED = 3
_SIGNALS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV)


def kills(path: Path, *, quick: bool) -> Iterator[Row]:
    """Four streams run and three requests wait; once every stream has text, the worker gets a signal."""
    count = 3 if quick else 50
    problems: list[str] = []
    waits_s: dict[str, list[float]] = {sent.name: [] for sent in _SIGNALS}
    daemon = Daemon(
        models={_MODEL: {"context_tokens": 65_536, "slots": _SLOTS, "keep_alive_s": -1}},
        settings={"heartbeat_s": 0.2, "hang_timeout_s": 2},
    )
    daemon.import_model(path, _MODEL)
    with daemon:
        daemon.wait_until_loaded(_MODEL)
        pid = daemon.pid
        for turn in range(count):
            sent = _SIGNALS[turn % len(_SIGNALS)]
            found, waited_s = _kill_once(daemon, sent, turn)
            problems += [f"{sent.name} #{turn}: {problem}" for problem in found]
            waits_s[sent.name].append(waited_s)
        alive = daemon.running and daemon.pid == pid and daemon.status()["pid"] == pid
        strays = [child for child in process.children(pid) if process.state(child) in ("Z", "T")]
    yield Row(
        what=f"{count} workers killed in mid-stream",
        bar="error to running, queued complete",
        measured=f"{len(problems)} problems"
        + (f"; first: {problems[0]}" if problems else "")
        + "; slowest recovery "
        + ", ".join(f"{name} {max(times):.1f} s" for name, times in waits_s.items() if times)
        + ("" if alive else "; THE DAEMON RESTARTED"),
        passed=not problems and alive and not strays,
        numbers={"problems": problems, "recovery_s": waits_s, "stray_children": strays},
    )


def _kill_once(daemon: Daemon, sent: signal.Signals, turn: int) -> tuple[list[str], float]:
    """What went wrong, and the seconds from the signal to the last queued request's end."""
    running = [completion(f"{turn} {i} go", 12_000, model=_MODEL) for i in range(_SLOTS)]
    # Sent once all slots are taken, and before any of them is free again.
    queued = [completion(f"{turn} {i} wait", 8, model=_MODEL, start_at=0.15) for i in range(_QUEUED)]
    worker: int = daemon.wait_until_loaded(_MODEL)["pid"]
    killed_at = 0.0

    def strike(_exchange: Exchange) -> None:
        nonlocal killed_at
        ready = all(len(stream.events) >= 5 for stream in running) and all(item.sent_at for item in queued)
        if not killed_at and ready and time.perf_counter() - queued[-1].sent_at > 0.05:
            os.kill(worker, sent)
            killed_at = time.perf_counter()

    exchange_all(daemon.port, running + queued, timeout_s=60, watch=strike)
    problems = []
    if not killed_at:
        problems.append("the streams ended before the signal was sent")
    for index, exchange in enumerate(running):
        failure = exchange.failure()
        if exchange.error or failure is None or not failure.get("message"):
            problems.append(f"stream {index} got no error event: {exchange.error or exchange.events[-1:]}")
    for index, exchange in enumerate(queued):
        if not exchange.finished or not exchange.text():
            got = exchange.error or exchange.failure() or f"status {exchange.status}"
            problems.append(f"queued request {index}: {got}")
        elif killed_at and exchange.pieces()[0][0] < killed_at:
            problems.append(f"queued request {index} ran before the signal")
    if process.state(worker) not in ("", "Z"):
        problems.append(f"the old worker is still there, in state {process.state(worker)}")
    return problems, max((item.closed_at for item in queued), default=0.0) - killed_at


def flood(path: Path, *, quick: bool) -> Iterator[Row]:
    count, capacity = 60 if quick else 500, 8 if quick else 32
    daemon = Daemon(
        models={_MODEL: {"context_tokens": 8192, "slots": _SLOTS, "keep_alive_s": -1}},
        settings={"queue_capacity": capacity},
    )
    daemon.import_model(path, _MODEL)
    with daemon:
        daemon.wait_until_loaded(_MODEL)
        # Half of them stream, half wait for the whole body.
        exchanges: list[Exchange] = []
        for index in range(count):
            more: dict[str, Any] = {} if index % 2 else {"stream": False, "stream_options": None}
            exchanges.append(completion(f"request {index}", 24, model=_MODEL, **more))
        exchange_all(daemon.port, exchanges, timeout_s=120)
        daemon.wait_until_idle(10)
        counters = daemon.status()["runtime"]["counters"]
    outcomes = Counter(_outcome(exchange) for exchange in exchanges)
    good = outcomes["answered"] + outcomes["429 with Retry-After"]
    yield Row(
        what=f"{count} requests at once, capacity {capacity}",
        bar="an answer or 429, none lost",
        measured=", ".join(f"{number} {name}" for name, number in outcomes.most_common()),
        passed=good == count and outcomes["answered"] >= capacity,
        numbers={"outcomes": dict(outcomes), "counters": counters},
    )


def _outcome(exchange: Exchange) -> str:
    if exchange.error:
        return exchange.error
    if exchange.status == 429:
        seconds = exchange.headers.get("retry-after", "")
        return "429 with Retry-After" if seconds.isdigit() and exchange.failure() else "429 without Retry-After"
    if exchange.status == 200:
        whole = exchange.finished or (exchange.body and exchange.json()["choices"][0]["text"])
        return "answered" if whole else f"200 but incomplete: {exchange.failure()}"
    return f"status {exchange.status}"
