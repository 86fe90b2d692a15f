"""What the live policy makes of spoken commands, faster than they were said: real sessions, passes and VAD, a clock
that the sound moves. Rows compare how words are settled, and how much sound a pass hears around the speech.

    edge-convert whisper ../shared/models/whisper-commands-hf --recordings ../shared/audio/commands --out COMMANDS
    python -m benchmarks.speech.live_replay COMMANDS ../shared/audio/commands [--seeds 5] [--heard CAPTURED.wav]

Each seed begins at another sample, in blocks of another size, with passes of other lengths: the word error rate of one
run is a draw, ±1 point. `--heard` is a recording of all commands in order (16 kHz, one channel, pauses of a second),
such as one of the null sink's monitor. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import wave
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from agent.runtime.wire.transcription import Transcribe, Transcribed
from agent.speech.events import Final, LiveEvent, Partial
from agent.speech.files import FILE_SEGMENTATION
from agent.speech.hypothesis import join, words_of
from agent.speech.live import LiveOptions, LiveSession
from agent.speech.pcm import BYTES_PER_INT16, SAMPLE_RATE_HZ, seconds
from agent.speech.policy import Partials
from agent.speech.segmenter import Segmentation
from agent.speech.source import Block, Heard
from agent.speech.vad import silero
from benchmarks.report import Row, run_rows
from benchmarks.speech.whisper_rows import wer_percent
from benchmarks.speech.whisper_worker import WhisperWorker

GAP_S = 1.2
BLOCKS = (512, 1024, 1600, 3200)
"""Samples: 32 to 200 ms."""
PASS_S = (0.04, 0.09)
"""What a pass over a command takes, through the daemon, on two cores."""
TURNS = 8
"""Of the event loop per block: what is due is done before the next one comes."""
LIVE_POINTS = 2.0


class OneVoice:
    """The VAD's opinion of one stretch of sound, asked once and remembered for the next session over it."""

    def __init__(self) -> None:
        self._voice = silero()
        self._known: list[float] = []
        self._at = 0

    def __call__(self, samples: list[float], level: float) -> float:
        if self._at == len(self._known):
            self._known.append(self._voice(samples, level))
        self._at += 1
        return self._known[self._at - 1]

    def reset(self) -> None:
        self._voice.reset()

    def rewind(self) -> None:
        self._at = 0


class Engine:
    """The worker's answers, each asked for once: another way to settle words changes no pass."""

    def __init__(self, worker: WhisperWorker) -> None:
        self._worker = worker
        self._known: dict[bytes, Transcribed] = {}

    def __call__(self, request: Transcribe) -> Transcribed:
        key = msgspec.msgpack.encode(request)
        if key not in self._known:
            options = {name: getattr(request, name) for name in ("language", "temperatures", "timestamps")}
            self._known[key] = self._worker.transcribe(request.audio, **options)[0]
        return self._known[key]


@dataclass
class Stage:
    """A source that moves the clock, and an engine that takes its time by it."""

    pcm: bytes
    engine: Engine
    chance: random.Random
    now: float = 0.0
    over: bool = False
    tick: asyncio.Event = field(default_factory=asyncio.Event)

    async def source(self) -> AsyncIterator[Heard]:
        step = self.chance.choice(BLOCKS) * BYTES_PER_INT16
        for start in range(0, len(self.pcm), step):
            block = self.pcm[start : start + step]
            self.now += seconds(len(block) // BYTES_PER_INT16)
            self._moved()
            yield Block(block, self.now)
            for _ in range(TURNS):
                await asyncio.sleep(0)
        self.over = True
        self._moved()

    def _moved(self) -> None:
        tick, self.tick = self.tick, asyncio.Event()
        tick.set()

    async def transcribe(self, request: Transcribe) -> Transcribed:
        answer, until = self.engine(request), self.now + self.chance.uniform(*PASS_S)
        while self.now < until and not self.over:
            await self.tick.wait()
        return answer


@dataclass(frozen=True)
class Outcome:
    """Of one session. Word error rates in percent; `alone_percent` is that of the final passes without what had been
    committed; `settled` the share of all words that were committed before the final text."""

    found: int
    wer_percent: float
    alone_percent: float
    settled: float


@dataclass(frozen=True)
class Room:
    """The commands as one stretch of sound, and what was said."""

    pcm: bytes
    texts: tuple[str, ...]

    def outcome(self, events: list[LiveEvent]) -> Outcome:
        finals = [event for event in events if isinstance(event, Final) and event.text]
        committed = {event.segment: len(event.committed.split()) for event in events if isinstance(event, Partial)}
        said = " ".join(self.texts)
        alone = " ".join(join(words_of(final.segments)) for final in finals)
        return Outcome(
            found=len(finals),
            wer_percent=wer_percent([(said, " ".join(final.text for final in finals))]),
            alone_percent=wer_percent([(said, alone)]),
            settled=sum(committed.values()) / len(said.split()),
        )


def room_of(folder: Path, heard: Path | None) -> Room:
    listed = sorted(json.loads((folder / "transcripts.json").read_text()).items())
    silence = bytes(BYTES_PER_INT16 * round(GAP_S * SAMPLE_RATE_HZ))
    joined = silence + b"".join(_pcm(folder / name) + silence for name, _ in listed)
    return Room(joined if heard is None else _pcm(heard), tuple(text for _, text in listed))


def _pcm(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (SAMPLE_RATE_HZ, 1, 2):
            raise RuntimeError(f"{path} is not 16-bit mono at 16 kHz")
        return bytes(file.readframes(file.getnframes()))


async def listen(stage: Stage, voice: OneVoice, options: LiveOptions) -> list[LiveEvent]:
    voice.rewind()
    session = LiveSession(stage.source(), stage.transcribe, voice=voice, options=options, clock=lambda: stage.now)
    async with session:
        return [event async for event in session]


def rows(room: Room, engine: Engine, seeds: int) -> Iterator[Row]:
    request = Transcribe(audio=b"", language="en", temperatures=(0.0, 0.4))
    pattern = LiveOptions(request=request, level_interval_s=0)
    now = pattern.partials
    whole = replace(pattern, partials=Partials(enabled=False))
    file_mode = replace(
        whole, segmentation=FILE_SEGMENTATION, request=msgspec.structs.replace(request, timestamps="segment")
    )
    narrow = Segmentation(preroll_s=0.3, postroll_s=0.2)
    ways = {
        "cut as a file is": file_mode,
        "live": pattern,
        "no partials": whole,
        "two passes settle words": replace(pattern, partials=replace(now, settle_s=0.0, settling_audio_s=0.0)),
        "settled after 0.8 s": replace(pattern, partials=replace(now, settle_s=0.8, settling_audio_s=0.0)),
        "settled after 1.2 s": replace(pattern, partials=replace(now, settle_s=1.2, settling_audio_s=0.0)),
        "0.3 s before, 0.2 s after": replace(whole, segmentation=narrow),
        "0.5 s before, 0.2 s after": replace(whole, segmentation=replace(narrow, preroll_s=0.5)),
    }
    outcomes: dict[str, list[Outcome]] = {name: [] for name in ways}
    for seed in range(seeds):
        voice, pcm = OneVoice(), room.pcm[BYTES_PER_INT16 * random.Random(seed).randrange(512) :]
        for name, options in ways.items():
            events = asyncio.run(listen(Stage(pcm, engine, random.Random(seed)), voice, options))
            outcomes[name].append(room.outcome(events))
        print(f"seed {seed}: {outcomes['live'][-1]}", file=sys.stderr, flush=True)
    limit = statistics.mean(one.wer_percent for one in outcomes["cut as a file is"]) + LIVE_POINTS
    for name, found in outcomes.items():
        rates, missed = [one.wer_percent for one in found], [len(room.texts) - one.found for one in found]
        judged = name == "live"
        yield Row(
            what=name,
            bar=f"WER <= {limit:.2f}%, every one found" if judged else "",
            measured=f"WER {statistics.mean(rates):.2f}% ({min(rates):.2f} to {max(rates):.2f}); final passes alone "
            f"{statistics.mean(one.alone_percent for one in found):.2f}%; settled before "
            f"{100 * statistics.mean(one.settled for one in found):.0f}% of words",
            passed=not judged or (max(rates) <= limit and not any(missed)),
            numbers={"wer_percent": rates, "alone_percent": [one.alone_percent for one in found], "missed": missed},
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path, help="of whisper-commands-hf")
    parser.add_argument("commands", type=Path, help="the folder with the recordings and transcripts.json")
    parser.add_argument("--heard", type=Path, help="all of them as a microphone heard them")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    with WhisperWorker(given.artifact, threads=2) as worker:
        room = room_of(given.commands, given.heard)
        passed = run_rows({"replay": partial(rows, room, Engine(worker), given.seeds)}, {"benchmark": "live_replay"})
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
