"""The live microphone through PulseAudio's null sink, without a model: what listening costs and what it loses.

    python -m benchmarks.live_rows                     # 1 minute of idling, a restart, 8 streams; as root, on Linux
    python -m benchmarks.live_rows --soak-minutes 30 --track ../shared/audio/live

`--track` is a folder with track.flac and track.json (texts and noises with their times). The engine is played: it
takes `--pass-s` and answers with one word. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from array import array
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agent.runtime.wire import Segment, Transcribe, Transcribed
from agent.speech.events import Device, Final, Lost, Partial
from agent.speech.files import AudioFile
from agent.speech.live import LiveOptions, LiveSession
from agent.speech.microphone import Microphone
from agent.speech.source import Block, Heard
from agent.speech.vad import silero
from benchmarks.null_sink import NullSink, why_not

RATE_HZ = 16_000
SETTLE_S = 10.0
"""The noise gate needs a few seconds, PulseAudio two."""
STREAMS = 8
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Row:
    what: str
    value: float
    unit: str
    bar: str
    passed: bool | None = None


class Engine:
    """Answers every pass with one word after `pass_s`."""

    def __init__(self, pass_s: float) -> None:
        self.pass_s = pass_s
        self.passes = 0

    async def __call__(self, request: Transcribe) -> Transcribed:
        self.passes += 1
        await asyncio.sleep(self.pass_s)
        audio_s = len(request.audio) / 4 / RATE_HZ
        return Transcribed(
            id=0,
            language="en",
            language_probability=1.0,
            audio_s=audio_s,
            segments=(Segment(start_s=0.0, end_s=audio_s, text="speech"),),
            completion_tokens=1,
            encode_s=0.0,
            decode_s=0.0,
        )


def _children() -> list[int]:
    own = os.getpid()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == own and b"agent.speech" in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


async def idle(length_s: float, engine: Engine) -> list[Row]:
    """Processor time of this process and the capturing one, with the microphone open and nobody speaking."""
    async with Microphone() as microphone, LiveSession(microphone, engine, voice=silero()) as session:
        began: float | None = None
        cpu_s = 0.0
        async for event in session:
            now = time.monotonic()
            if isinstance(event, Device) and event.state == "open":
                began = now + SETTLE_S
            if began is not None and cpu_s == 0.0 and now > began:
                began, pids = now, [os.getpid(), *_children()]
                cpu_s = sum(map(_cpu_s, pids))
            elif cpu_s and began is not None and now > began + length_s:
                percent = (sum(map(_cpu_s, pids)) - cpu_s) / (now - began) * 100
                break
        resident = [_resident_mb(pid) for pid in pids]
        lost = microphone.status.lost_samples
    return [
        Row("idle, both processes", round(percent, 2), "% of one core", "<= 3", percent <= 3),
        Row("idle, Whisper passes", engine.passes, "", "0", engine.passes == 0),
        Row("idle, lost", lost, "samples", "0", lost == 0),
        Row("capturing process", round(resident[1], 1), "MB resident", ""),
        Row("this process, VAD included", round(resident[0], 1), "MB resident", ""),
    ]


async def restart(sink: NullSink, engine: Engine) -> list[Row]:
    """Kills the sound server, starts it again two seconds later."""
    async with Microphone() as microphone, LiveSession(microphone, engine, voice=silero()) as session:
        killed_at = back_at = 0.0
        async for event in session:
            if isinstance(event, Device) and event.state == "open" and not killed_at:
                await asyncio.sleep(2)
                sink.kill()
                killed_at = time.monotonic()
                await asyncio.sleep(2)
                await asyncio.to_thread(sink.start)
                back_at = time.monotonic()
            elif isinstance(event, Lost) and event.reason == "reopened":
                break
        now = time.monotonic()
    missing = (now - killed_at) * RATE_HZ
    return [
        Row("reopened after the server is back", round(now - back_at, 2), "s", "<= 5", now - back_at <= 5),
        Row("lost by then, of what was missing", round(event.samples / missing, 3), "", "about 1"),
    ]


async def streams(track: Path, engine: Engine) -> list[Row]:
    """The first 20 s of the track in eight sessions at once, in real time."""
    pcm = await _pcm(track, 20.0)

    async def source() -> AsyncIterator[Heard]:
        started = time.monotonic()
        for at in range(0, len(pcm), 3200):
            await asyncio.sleep(max(0.0, started + at / 2 / RATE_HZ - time.monotonic()))
            yield Block(pcm[at : at + 3200], time.monotonic())

    async def listen() -> list[Final]:
        options = LiveOptions(when_full="wait")
        async with LiveSession(source(), engine, voice=silero(), options=options) as session:
            return [event async for event in session if isinstance(event, Final)]

    cpu_s, began = time.process_time(), time.monotonic()
    finals = await asyncio.gather(*(listen() for _ in range(STREAMS)))
    cpu = (time.process_time() - cpu_s) / (time.monotonic() - began) * 100
    counts = {len(one) for one in finals}
    return [
        Row(f"{STREAMS} streams at once, segments in each", min(counts), "", "all the same", len(counts) == 1),
        Row(f"{STREAMS} streams at once", round(cpu, 1), "% of one core", ""),
        _latency([final.latency_s for one in finals for final in one], f"{STREAMS} streams"),
    ]


async def soak(sink: NullSink, track: Path, minutes: float, engine: Engine) -> list[Row]:
    """The track over and over: speech, silence, noise."""
    spoken = [entry for entry in json.loads((track / "track.json").read_text("utf-8")) if "text" in entry]
    began_finals: list[Final] = []
    partial_times: list[float] = []
    resident: list[float] = []
    rounds = 0
    async with Microphone() as microphone, LiveSession(microphone, engine, voice=silero()) as session:
        stop = time.monotonic() + minutes * 60
        player = None
        last: Partial | None = None
        last_at = 0.0
        async for event in session:
            now = time.monotonic()
            if player is None or player.poll() is not None:
                if now > stop and player is not None:
                    session.finish()
                    stop = float("inf")
                elif stop != float("inf") and not (isinstance(event, Device) and event.state != "open"):
                    player, rounds = sink.play(track / "track.flac"), rounds + 1
                    resident.append(sum(_resident_mb(pid) for pid in (os.getpid(), *_children())))
            if isinstance(event, Partial):
                if last is not None and last.segment == event.segment:
                    partial_times.append(now - last_at)
                last, last_at = event, now
            elif isinstance(event, Final):
                began_finals.append(event)
        status = microphone.status
    expected = rounds * len(spoken)
    warm = resident[1:] or resident
    growth = (max(warm) / warm[0] - 1) * 100
    found = len(began_finals)
    return [
        Row(f"soak of {minutes:g} min, segments for {expected} commands", found, "", "equal", found == expected),
        Row("soak, lost", status.lost_samples, "samples", "0", status.lost_samples == 0),
        Row("soak, growth of resident memory", round(growth, 2), "%", "<= 2", growth <= 2),
        Row("soak, longest time between partials", round(max(partial_times, default=0.0), 3), "s", "<= 0.6"),
        Row("soak, median time between partials", round(_middle(partial_times, 0.5), 3), "s", "<= 0.6"),
        _latency([final.latency_s for final in began_finals], "soak"),
    ]


def _latency(latencies: list[float], what: str) -> Row:
    value = _middle(latencies, 0.5)
    return Row(
        f"{what}, end of speech to final, p50 (end silence is 0.5 s)", round(value, 3), "s", "<= 0.75", value <= 0.75
    )


def _middle(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0


async def _pcm(track: Path, length_s: float) -> bytes:
    """The beginning of the track, 16-bit PCM at 16 kHz."""
    samples = array("f")
    async with AudioFile(track / "track.flac", all_sound=True) as audio:
        async for frames in audio.frames():
            samples.frombytes(frames.samples)
            if len(samples) >= length_s * RATE_HZ:
                break
    return array("h", [round(sample * 32767) for sample in samples[: int(length_s * RATE_HZ)]]).tobytes()


async def measure(given: argparse.Namespace, sink: NullSink) -> list[Row]:
    rows = await idle(given.idle_s, Engine(given.pass_s))
    rows += await restart(sink, Engine(given.pass_s))
    if given.track is not None:
        rows += await streams(given.track, Engine(given.pass_s))
        if given.soak_minutes:
            rows += await soak(sink, given.track, given.soak_minutes, Engine(given.pass_s))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--track", type=Path)
    parser.add_argument("--soak-minutes", type=float, default=0.0)
    parser.add_argument("--pass-s", type=float, default=0.15, help="what the engine takes for a pass")
    given = parser.parse_args()
    if reason := why_not():
        print(f"cannot measure here: {reason}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, NullSink(Path(folder)) as sink:
        os.environ.update(sink.environment)
        rows = asyncio.run(measure(given, sink))
    for row in rows:
        verdict = "" if row.passed is None else "ok" if row.passed else "MISSED"
        print(f"{row.what:70} {row.value:>10} {row.unit:14} {row.bar:12} {verdict}")
    print(json.dumps([asdict(row) for row in rows]))
    return 0 if all(row.passed is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
