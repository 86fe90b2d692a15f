"""Minutes of speech, silence and noise: what is lost, what is made up, what memory grows."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator

from benchmarks.process import resident_bytes
from benchmarks.report import Row
from benchmarks.speech.microphone_bench import SETTLE_S, Bench, Listener
from benchmarks.speech.microphone_waits import latency
from benchmarks.speech.whisper_rows import word_errors, words_of


def soak(bench: Bench, minutes: float) -> Iterator[Row]:
    track = bench.audio / "live"
    entries = json.loads((track / "track.json").read_text())
    spoken = [entry["text"] for entry in entries if "text" in entry]
    worker = bench.daemon.model(bench.model)["pid"]
    listener = Listener(bench.daemon.port)
    listener.wait_open()
    time.sleep(SETTLE_S)
    lost = bench.microphone()["lost_samples"]
    resident: list[tuple[int, int, int]] = []
    end, rounds = time.monotonic() + minutes * 60, 0
    while time.monotonic() < end:
        bench.sink.play(track / "track.flac").wait()
        rounds += 1
        pids = (bench.daemon.pid, bench.capture_pid(), worker)
        resident.append(tuple(resident_bytes(pid) for pid in pids))  # type: ignore[arg-type]
    time.sleep(3)
    events = list(listener.events)
    lost = bench.microphone()["lost_samples"] - lost
    listener.close()
    finals = [event for _, event in events if event["type"] == "final" and event["text"]]
    heard = [event["text"] for event in finals]
    strangers = [text for text in heard if _likeness(text, spoken) < 0.5]
    yield Row(
        what=f"{minutes:g} min of speech, silence and noise",
        bar="no sample lost",
        measured=f"{lost} samples lost; {len(finals)} texts for {rounds * len(spoken)} commands",
        passed=lost == 0 and len(finals) == rounds * len(spoken),
        numbers={"lost": lost, "rounds": rounds},
    )
    yield Row(
        what="the same: text for silence and noise",
        bar="none",
        measured=f"{len(strangers)} texts that are like no command" + (f": {strangers[:3]}" if strangers else ""),
        passed=not strangers and len(finals) == rounds * len(spoken),
        numbers={"strangers": strangers},
    )
    totals = [sum(sizes) for sizes in resident]
    first, last = _third(totals, 0), _third(totals, -1)
    growth = 100 * (last / first - 1)
    shown = ", ".join(f"{now / 2**20:.1f}" for now in resident[-1])
    yield Row(
        what="the same: memory, first third to last third",
        bar="within 2%",
        measured=f"{growth:+.2f}% ({first / 2**20:.1f} to {last / 2**20:.1f} MB; daemon, capture, worker {shown})",
        passed=abs(growth) <= 2,
        numbers={"resident": resident},
    )
    yield latency("the same", events)


def _third(values: list[int], which: int) -> float:
    """Median of the first (0) or the last (-1) third, without the very first: caches fill."""
    warm = values[1:] or values
    count = max(1, len(warm) // 3)
    return statistics.median(warm[:count] if which == 0 else warm[-count:])


def _likeness(text: str, spoken: list[str]) -> float:
    """1: the words of one of `spoken`; 0: nothing in common."""
    words = words_of(text)
    return max(1 - word_errors(words_of(one), words) / max(len(words_of(one)), len(words), 1) for one in spoken)
