"""The live microphone of a real daemon with a real model, through PulseAudio's null sink: what is heard, how soon, what
it costs, and what a broken sound server does to it. As root, on Linux.

    edge-convert whisper ../shared/models/whisper-commands-hf --recordings ../shared/audio/commands --out COMMANDS
    python -m benchmarks.speech.microphone_rows COMMANDS ../shared/audio [--soak-minutes 30] [--only NAME ...]

Times are the client's: from the wall clock at the last voiced sound, as `speech_end` says, to the arrival of the final
text. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.daemon import Daemon
from benchmarks.process import cpu_s
from benchmarks.report import Row, run_rows
from benchmarks.speech.file_rows import ask
from benchmarks.speech.microphone_bench import SETTLE_S, Bench, Event, Listener
from benchmarks.speech.microphone_faults import faults
from benchmarks.speech.microphone_soak import soak
from benchmarks.speech.microphone_waits import cadence, latency
from benchmarks.speech.null_sink import NullSink, why_not
from benchmarks.speech.whisper_rows import REFERENCE_WER_PERCENT, wer_percent

RATE_HZ = 16_000
GAP_S = 1.2
"""Between commands: more than the end silence."""


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
    yield latency("live", events)
    yield cadence(events)


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
