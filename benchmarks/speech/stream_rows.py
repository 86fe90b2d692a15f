"""Several clients' audio streams at once against a real daemon: complete, in order, and how long a final text takes.

    edge-convert whisper ../shared/models/whisper-commands-hf --recordings ../shared/audio/commands --out COMMANDS
    python -m benchmarks.speech.stream_rows COMMANDS ../shared/audio/commands

Each stream says its own recordings with pauses between them, in real time, 100 ms per message; then eight send theirs
as fast as they are taken; then more come than may. Times are the client's: from the message with the last voiced
sample to the final text. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp

from benchmarks.daemon import Daemon
from benchmarks.process import cpu_s, resident_bytes
from benchmarks.report import Row, run_rows
from benchmarks.speech.stream_client import RATE_HZ, Talk, talk
from benchmarks.speech.whisper_rows import REFERENCE_WER_PERCENT, wer_percent

COUNTS = (1, 4, 8)
SENTENCES = 7
"""Per stream; one alone says three times as many."""
PAUSE_S = 0.9
"""Between them: more than the end silence of 0.5 s."""
STAGGER_S = 0.37
END_SILENCE_S = 0.5
LIVE_POINTS = 2.0
"""What a live transcription may be worse by than file mode."""
GROWTH_MB = 64.0
"""What eight clients that push may make the daemon grow by: 8 MB each."""


@dataclass(frozen=True)
class Speech:
    """What one stream says. `spans` are (start, end) of each recording in seconds."""

    pcm: bytes
    texts: tuple[str, ...]
    spans: tuple[tuple[float, float], ...]

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def found(self, done: Talk) -> int:
        """How many recordings have a final text that lies in them."""
        finals = [(final["start_s"], final["end_s"]) for final in done.of("final")]
        return sum(any(start < end_s and end > start_s for start, end in finals) for start_s, end_s in self.spans)


def speeches(folder: Path, count: int, sentences: int) -> list[Speech]:
    """The recordings dealt out, in an order of its own for each number of streams."""
    listed = sorted(json.loads((folder / "transcripts.json").read_text()).items())
    random.Random(count).shuffle(listed)
    return [_speech(folder, listed[start : start + sentences]) for start in range(0, count * sentences, sentences)]


def _speech(folder: Path, listed: Sequence[tuple[str, str]]) -> Speech:
    silence = bytes(2 * round(PAUSE_S * RATE_HZ))
    pcm, spans = bytearray(silence), []
    for name, _ in listed:
        with wave.open(str(folder / name)) as file:
            if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
                raise RuntimeError(f"{name} is not 16-bit mono at 16 kHz")
            start_s = len(pcm) / 2 / RATE_HZ
            pcm += file.readframes(file.getnframes())
        spans.append((start_s, len(pcm) / 2 / RATE_HZ))
        pcm += silence
    return Speech(bytes(pcm), tuple(text for _, text in listed), tuple(spans))


def in_real_time(daemon: Daemon, url: str, folder: Path, count: int) -> Iterator[Row]:
    said = speeches(folder, count, SENTENCES * 3 if count == 1 else SENTENCES)
    busy_s = cpu_s(daemon.pid)
    done, took_s = asyncio.run(_together(url, said, paced=True))
    busy = (cpu_s(daemon.pid) - busy_s) / took_s * 100
    yield from _judged(f"{count} in real time", said, done)
    waits_s = sorted(wait for one in done for wait in one.waits_s())
    p50, p95 = statistics.median(waits_s), waits_s[round(0.95 * (len(waits_s) - 1))]
    bars = (END_SILENCE_S + 0.25, END_SILENCE_S + 0.5)
    yield Row(
        what=f"{count} in real time: end of speech to final",
        bar=f"p50 <= {bars[0]:.2f} s, p95 <= {bars[1]:.2f} s",
        measured=f"p50 {p50:.3f} s, p95 {p95:.3f} s; the daemon {busy:.0f}% of a core",
        passed=p50 <= bars[0] and p95 <= bars[1],
        numbers={"waits_s": waits_s, "daemon_percent": busy},
    )


def pushed(daemon: Daemon, url: str, folder: Path) -> Iterator[Row]:
    """Eight at once, as fast as they are taken: slowed down, nothing lost, no memory for what waits."""
    said = speeches(folder, 8, SENTENCES)
    before = resident_bytes(daemon.pid)
    Path(f"/proc/{daemon.pid}/clear_refs").write_text("5")  # the peak counts from now
    done, took_s = asyncio.run(_together(url, said, paced=False))
    peak = next(
        1024 * int(line.split()[1])
        for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    yield from _judged("8 pushed", said, done)
    sound_s, growth_mb = sum(len(one.pcm) for one in said) / 2 / RATE_HZ, (peak - before) / 2**20
    yield Row(
        what="8 pushed: the daemon's memory",
        bar=f"grows by <= {GROWTH_MB:.0f} MB",
        measured=f"{growth_mb:.1f} MB; {sound_s:.0f} s of sound in {took_s:.1f} s",
        passed=growth_mb <= GROWTH_MB,
        numbers={"growth_mb": growth_mb, "sound_s": sound_s, "took_s": took_s},
    )


def overload(url: str) -> Iterator[Row]:
    found, later = asyncio.run(_overload(url, wanted=24))
    opened = [one for one in found if one.status == 101]
    refused = [one for one in found if one.status == 429 and one.retry_after_s]
    yield Row(
        what="24 streams wanted, with a queue of 32",
        bar=">= 8 opened, the others get 429",
        measured=f"{len(opened)} opened, {len(refused)} refused with Retry-After, then {later.status}",
        passed=len(opened) >= 8 and len(opened) + len(refused) == len(found) and later.status == 101,
    )


async def _overload(url: str, *, wanted: int) -> tuple[list[Talk], Talk]:
    """What became of each, and of one that comes when the others have left."""
    quiet = bytes(2 * RATE_HZ * 3)
    async with aiohttp.ClientSession() as http:
        found = await asyncio.gather(*(talk(http, url, quiet) for _ in range(wanted)))
        return found, await talk(http, url, quiet[:RATE_HZ])


async def _together(url: str, said: Sequence[Speech], *, paced: bool) -> tuple[list[Talk], float]:
    """And how long all took, in seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with aiohttp.ClientSession() as http:
        done = await asyncio.gather(
            *(
                talk(http, url, one.pcm, paced=paced, wait_s=STAGGER_S * number if paced else 0.0)
                for number, one in enumerate(said)
            )
        )
    return done, loop.time() - began


def _judged(what: str, said: Sequence[Speech], done: Sequence[Talk]) -> Iterator[Row]:
    sentences, found = sum(len(one.texts) for one in said), sum(map(Speech.found, said, done))
    well, ordered = sum(one.ended_well for one in done), sum(one.ordered for one in done)
    yield Row(
        what=f"{what}: complete",
        bar="every sentence, every stream",
        measured=f"{found} of {sentences} sentences; {well} of {len(done)} ended well, {ordered} in order",
        passed=found == sentences and well == ordered == len(done),
        numbers={"ended": [(one.status, one.close_code) for one in done]},
    )
    each = [wer_percent([(one.text, other.text)]) for one, other in zip(said, done, strict=True)]
    total = wer_percent([(one.text, other.text) for one, other in zip(said, done, strict=True)])
    yield Row(
        what=f"{what}: WER",
        bar=f"<= {REFERENCE_WER_PERCENT}% (file mode) + {LIVE_POINTS:g}",
        measured=f"{total:.2f}%; each " + " ".join(f"{one:.1f}" for one in each),
        passed=total <= REFERENCE_WER_PERCENT + LIVE_POINTS,
        numbers={"wer_percent": total, "each": each},
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path, help="of whisper-commands-hf")
    parser.add_argument("recordings", type=Path, help="the folder with transcripts.json")
    parser.add_argument("--counts", type=int, nargs="*", default=COUNTS)
    given = parser.parse_args()
    name = str(json.loads((given.artifact / "manifest.json").read_text())["name"])
    daemon = Daemon()
    daemon.import_model(given.artifact, name)
    with daemon:
        daemon.wait_until_loaded(name)
        url = f"http://127.0.0.1:{daemon.port}/v1/audio/stream"
        groups: dict[str, Callable[[], Iterator[Row]]] = {
            f"{count} in real time": partial(in_real_time, daemon, url, given.recordings, count)
            for count in given.counts
        }
        groups["pushed"] = partial(pushed, daemon, url, given.recordings)
        groups["overload"] = partial(overload, url)
        return 0 if run_rows(groups, {"benchmark": "streams"}) else 1


if __name__ == "__main__":
    sys.exit(main())
