"""The live microphone of a real daemon with a real model, through PulseAudio's null sink: what is heard, how soon, what
it costs, and what a broken sound server does to it. As root, on Linux.

    edge-convert whisper ../shared/models/whisper-commands-hf --recordings ../shared/audio/commands --out COMMANDS
    python -m benchmarks.microphone_rows COMMANDS ../shared/audio [--soak-minutes 30] [--only NAME ...]

Times are the client's: from the wall clock at the last voiced sound, as `speech_end` says, to the arrival of the final
text. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.client import call
from benchmarks.daemon import Daemon
from benchmarks.null_sink import NullSink, why_not
from benchmarks.process import children, cpu_s, resident_bytes
from benchmarks.report import Row, run_rows
from benchmarks.transcribe_file_rows import ask
from benchmarks.whisper_rows import REFERENCE_WER_PERCENT, wer_percent, word_errors, words_of

RATE_HZ = 16_000
END_SILENCE_S = 0.5
GAP_S = 1.2
"""Between commands: more than the end silence."""
STALL_S = 3.0
LONG_STALL_S = 12.0
"""More than the capturing process keeps."""
SETTLE_S = 12.0
"""PulseAudio needs two seconds, the noise gate a few."""
Event = dict[str, Any]


class Listener:
    """Somebody who listens to the microphone: every event with the wall clock of its arrival."""

    def __init__(self, port: int, *, levels: bool = False, language: str = "") -> None:
        self.events: list[tuple[float, Event]] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
        self._connection.request(
            "GET", f"/v1/audio/live?level={int(levels)}" + (f"&language={language}" if language else "")
        )
        self._answer = self._connection.getresponse()
        if self._answer.status != 200:
            raise RuntimeError(f"live: {self._answer.status} {self._answer.read().decode()}")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def of(self, kind: str, since: int = 0) -> list[tuple[float, Event]]:
        return [(at, event) for at, event in self.events[since:] if event["type"] == kind]

    def wait(self, found: Callable[[], bool], timeout_s: float) -> bool:
        limit = time.monotonic() + timeout_s
        while not found():
            if time.monotonic() > limit:
                return False
            time.sleep(0.02)
        return True

    def wait_open(self, timeout_s: float = 15.0, since: int = 0) -> bool:
        return self.wait(lambda: any(event["state"] == "open" for _, event in self.of("device", since)[-1:]), timeout_s)

    def close(self) -> None:
        if self._connection.sock is not None:
            self._connection.sock.close()
        self._thread.join(timeout=5)

    def _read(self) -> None:
        try:
            for line in self._answer:
                if line.startswith(b"data: {"):
                    self.events.append((time.time(), json.loads(line[6:])))
        except (OSError, http.client.HTTPException, ValueError):
            return  # closed


class Bench:
    """The daemon, its sound server, and what there is to say."""

    def __init__(self, daemon: Daemon, sink: NullSink, model: str, audio: Path, folder: Path) -> None:
        self.daemon, self.sink, self.model, self.audio, self.folder = daemon, sink, model, audio, folder

    def microphone(self) -> dict[str, Any]:
        state: dict[str, Any] = self.daemon.status()["microphone"]
        return state

    def capture_pid(self) -> int:
        for pid in children(self.daemon.pid):
            if b"agent.speech.capture" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        raise RuntimeError("nothing captures")

    def requests(self) -> int:
        """Passes of the model so far."""
        text = call(self.daemon.port, "/metrics").body.decode()
        return int(
            sum(
                float(line.rsplit(" ", 1)[1])
                for line in text.splitlines()
                if line.startswith("llm_requests_total") and f'"{self.model}"' in line
            )
        )


def commands(bench: Bench) -> Iterator[Row]:
    listed = sorted(json.loads((bench.audio / "commands" / "transcripts.json").read_text()).items())
    path = bench.folder / "commands.wav"
    spans = _joined([bench.audio / "commands" / name for name, _ in listed], path)
    listener = Listener(bench.daemon.port, language="en")
    listener.wait_open()
    time.sleep(SETTLE_S)
    mark = len(listener.events)
    bench.sink.play(path).wait()
    time.sleep(3)
    events = listener.events[mark:]
    lost = bench.microphone()["lost_samples"]
    listener.close()
    finals = [(at, event) for at, event in events if event["type"] == "final" and event["text"]]
    said = " ".join(text for _, text in listed)
    live = wer_percent([(said, " ".join(event["text"] for _, event in finals))])
    alone = wer_percent([(said, " ".join(part["text"].strip() for _, event in finals for part in event["segments"]))])
    files = wer_percent([(text, _file_mode(bench, name)) for name, text in listed])
    yield Row(
        what=f"live: segments for {len(listed)} commands",
        bar="every one, no sample lost",
        measured=f"{len(finals)}, {lost} samples lost",
        passed=len(finals) == len(spans) and lost == 0,
        numbers={"finals": [event["text"] for _, event in finals]},
    )
    yield Row(
        what="live: WER",
        bar="<= file mode + 2 points",
        measured=f"{live:.2f}%, final passes alone {alone:.2f}%, {_settled(events)} of {len(said.split())} words "
        f"settled before; file mode {files:.2f}% (transformers FP32: {REFERENCE_WER_PERCENT}%)",
        passed=live <= files + 2,
        numbers={"wer_percent": live, "alone_percent": alone, "file_wer_percent": files},
    )
    yield _latency("live", events)
    yield _cadence(events)


def _settled(events: list[tuple[float, Event]]) -> int:
    """Words that were committed while they were spoken."""
    words = {event["segment"]: len(event["committed"].split()) for _, event in events if event["type"] == "partial"}
    return sum(words.values())


def _file_mode(bench: Bench, name: str) -> str:
    sound = (bench.audio / "commands" / name).read_bytes()
    return str(json.loads(ask(bench.daemon.port, iter([sound]), len(sound), language="en").read())["text"])


def idle(bench: Bench, length_s: float) -> Iterator[Row]:
    listener = Listener(bench.daemon.port)
    listener.wait_open()
    time.sleep(SETTLE_S)
    pids = [bench.daemon.pid, bench.capture_pid()]
    before, passes, began = [cpu_s(pid) for pid in pids], bench.requests(), time.monotonic()
    time.sleep(length_s)
    used = [100 * (cpu_s(pid) - spent) / (time.monotonic() - began) for pid, spent in zip(pids, before, strict=True)]
    passes = bench.requests() - passes
    listener.close()
    yield Row(
        what=f"idle for {length_s:.0f} s: microphone open, silence",
        bar="<= 3% of one core, no pass",
        measured=f"{sum(used):.2f}% (daemon {used[0]:.2f}, capture {used[1]:.2f}), {passes} passes",
        passed=sum(used) <= 3 and passes == 0,
        numbers={"percent": used},
    )


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
    yield _latency("the same", events)


def _third(values: list[int], which: int) -> float:
    """Median of the first (0) or the last (-1) third, without the very first: caches fill."""
    warm = values[1:] or values
    count = max(1, len(warm) // 3)
    return statistics.median(warm[:count] if which == 0 else warm[-count:])


def _likeness(text: str, spoken: list[str]) -> float:
    """1: the words of one of `spoken`; 0: nothing in common."""
    words = words_of(text)
    return max(1 - word_errors(words_of(one), words) / max(len(words_of(one)), len(words), 1) for one in spoken)


def _latency(what: str, events: list[tuple[float, Event]]) -> Row:
    ends = {event["segment"]: event["time"] for _, event in events if event["type"] == "speech_end"}
    waits = sorted(
        at - ends[event["segment"]]
        for at, event in events
        if event["type"] == "final" and event["text"] and event["segment"] in ends
    )
    p50, p95 = statistics.median(waits), waits[round(0.95 * (len(waits) - 1))]
    return Row(
        what=f"{what}: end of speech to final text",
        bar=f"p50 <= {END_SILENCE_S + 0.25:.2f} s, p95 <= {END_SILENCE_S + 0.5:.2f} s",
        measured=f"p50 {p50:.3f} s, p95 {p95:.3f} s, most {waits[-1]:.3f} s ({len(waits)} texts)",
        passed=p50 <= END_SILENCE_S + 0.25 and p95 <= END_SILENCE_S + 0.5,
        numbers={"waits_s": waits},
    )


def _cadence(events: list[tuple[float, Event]]) -> Row:
    """Between what is shown while someone speaks: speech_start or partial, and the next partial of the segment."""
    gaps: list[float] = []
    last: dict[int, float] = {}
    for at, event in events:
        if event["type"] == "partial":
            if event["segment"] in last:
                gaps.append(at - last[event["segment"]])
            last[event["segment"]] = at
    gaps.sort()
    p50, p95 = statistics.median(gaps), gaps[round(0.95 * (len(gaps) - 1))]
    return Row(
        what="live: partial cadence while speaking",
        bar="<= 0.6 s",
        measured=f"median {p50:.3f} s, p95 {p95:.3f} s, most {gaps[-1]:.3f} s ({len(gaps)})",
        passed=p95 <= 0.6,
        numbers={"gaps_s": gaps},
    )


def _joined(paths: list[Path], target: Path) -> list[tuple[float, float]]:
    """One WAV of all with silence between them; where each is, in seconds."""
    silence = bytes(2 * round(GAP_S * RATE_HZ))
    pcm, spans = bytearray(silence), []
    for path in paths:
        with wave.open(str(path)) as file:
            start_s = len(pcm) / 2 / RATE_HZ
            pcm += file.readframes(file.getnframes())
        spans.append((start_s, len(pcm) / 2 / RATE_HZ))
        pcm += silence
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(bytes(pcm))
    return spans


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path, help="of whisper-commands-hf")
    parser.add_argument("audio", type=Path, help="the folder with commands/ and live/")
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--soak-minutes", type=float, default=0.0)
    parser.add_argument("--only", nargs="*", default=["commands", "idle", "faults", "soak"])
    given = parser.parse_args()
    if reason := why_not():
        print(f"microphone: skipped: {reason}")
        return 0
    name = str(json.loads((given.artifact / "manifest.json").read_text())["name"])
    with tempfile.TemporaryDirectory(prefix="edge-agent-sound-") as folder, NullSink(Path(folder)) as sink:
        os.environ.update(sink.environment)
        daemon = Daemon()
        daemon.import_model(given.artifact, name)
        with daemon:
            daemon.wait_until_loaded(name)
            bench = Bench(daemon, sink, name, given.audio, Path(folder))
            groups: dict[str, Callable[[], Iterator[Row]]] = {
                "commands": partial(commands, bench),
                "idle": partial(idle, bench, given.idle_s),
                "faults": partial(faults, bench),
            }
            if given.soak_minutes:
                groups["soak"] = partial(soak, bench, given.soak_minutes)
            chosen = {key: group for key, group in groups.items() if key in given.only}
            return 0 if run_rows(chosen, {"benchmark": "microphone"}) else 1


if __name__ == "__main__":
    sys.exit(main())
