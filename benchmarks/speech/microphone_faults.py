"""What a broken sound server, and a process that stands still, do to the microphone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

from benchmarks.report import Row
from benchmarks.speech.microphone_bench import Bench, Listener

STALL_S = 3.0
LONG_STALL_S = 12.0
"""More than the capturing process keeps."""


def faults(bench: Bench) -> Iterator[Row]:
    listener = Listener(bench.daemon.port)
    listener.wait_open()
    time.sleep(3)
    yield _stall(bench, "the sound server", bench.sink.signal)
    capture = bench.capture_pid()
    yield _stall(bench, "the capturing process", lambda number: os.kill(capture, number))
    yield _stall(bench, "the daemon", lambda number: os.kill(bench.daemon.pid, number))
    yield _stall(bench, "the daemon", lambda number: os.kill(bench.daemon.pid, number), stall_s=LONG_STALL_S)
    mark = len(listener.events)
    bench.sink.kill()
    time.sleep(2)
    bench.sink.start()
    back = time.time()
    opened = listener.wait(
        lambda: [event["state"] for _, event in listener.of("device", mark)][-1:] == ["open"], timeout_s=15
    )
    states = [event["state"] for _, event in listener.of("device", mark)]
    at = listener.of("device", mark)[-1][0]
    yield Row(
        what="the sound server killed, started 2 s later",
        bar="open again in <= 5 s, with events",
        measured=f"{at - back:.2f} s after it was back; {', '.join(states)}",
        passed=opened and at - back <= 5 and "lost" in states,
    )
    listener.close()
    listener.wait(lambda: bench.microphone()["state"] == "closed", timeout_s=5)
    bench.sink.kill()
    listener = Listener(bench.daemon.port)
    listener.wait(lambda: any(event["state"] == "failed" for _, event in listener.of("device")), timeout_s=20)
    failed = [event for _, event in listener.of("device") if event["state"] == "failed"]
    bench.sink.start()
    back, mark = time.time(), len(listener.events)
    opened = listener.wait_open(since=mark)
    at = (listener.of("device", mark) or [(0.0, {})])[-1][0]
    listener.close()
    reason = failed[0]["reason"] if failed else "nothing"
    yield Row(
        what="the device missing at the start, there later",
        bar="a clear state; open in <= 5 s",
        measured=f"failed: {reason}; open {at - back:.2f} s after it was there",
        passed=bool(failed) and opened and at - back <= 5,
    )


def _stall(bench: Bench, what: str, send: Callable[[int], None], stall_s: float = STALL_S) -> Row:
    """Whatever came late or never: sound counted and sound lost must add up to the time that went by."""
    listener = Listener(bench.daemon.port, levels=True)
    listener.wait(lambda: len(listener.of("level")) > 20, timeout_s=15)
    (began, first), lost, mark = listener.of("level")[-1], bench.microphone()["lost_samples"], len(listener.events)
    send(signal.SIGSTOP)
    time.sleep(stall_s)
    send(signal.SIGCONT)
    time.sleep(5)
    ended, last = listener.of("level")[-1]
    told = sum(event["samples"] for _, event in listener.of("lost", mark))
    counted, state = bench.microphone()["lost_samples"] - lost, bench.microphone()["state"]
    listener.close()
    astray_s = (ended - began) - (last["at_s"] - first["at_s"])
    return Row(
        what=f"{what} stopped for {stall_s:g} s",
        bar="what was lost is told in samples",
        measured=f"{told} samples told, {counted} counted; sound and clock {1e3 * astray_s:+.0f} ms apart; {state}",
        passed=told == counted and abs(astray_s) <= 0.3 and state == "open",
        numbers={"told": told, "astray_s": astray_s},
    )
