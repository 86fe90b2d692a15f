"""The Whisper engine in its worker: word error rate, fitted windows, word timestamps, memory, and faster-whisper.

    edge-convert whisper ../shared/models/whisper-commands-hf --recordings ../shared/audio/commands --out COMMANDS
    python -m benchmarks.speech.whisper_rows COMMANDS ../shared/audio
    python -m benchmarks.models.whisper_shapes tiny HF && edge-convert whisper HF --out TINY --accept-quality
    ct2-transformers-converter --model HF --output_dir CT2 --quantization int8 --copy_files tokenizer.json \\
        preprocessor_config.json
    python -m benchmarks.speech.whisper_rows COMMANDS ../shared/audio --tiny TINY --peer CT2 --peer-python PYTHON

PYTHON has faster-whisper. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agent.runtime.wire.transcription import Transcribed
from benchmarks.report import Row, run_rows
from benchmarks.speech.whisper_worker import WhisperWorker

RATE_HZ = 16_000
REFERENCE_WER_PERCENT = 5.87
"""transformers 5.23, FP32, greedy, 30 s windows, on audio/commands (tests/engines/onnx/whisper/commands.json)."""
THREADS = 2
STEPS = 100
GAP_S = 0.05
"""Between words cut from the recordings in audio/words, which have 0.18 s: with that much the model mishears them."""
_PAUSE_S = 0.5
"""Threads of the other side may spin on for a while after their work."""
Audio = np.ndarray[Any, np.dtype[np.float32]]


def read(path: Path) -> Audio:
    """float32 [samples] of a 16-bit mono WAV at 16 kHz."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
            raise RuntimeError(f"{path} is not 16-bit mono at 16 kHz")
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return np.asarray(samples / 32768, dtype=np.float32)


def words_of(text: str) -> list[str]:
    return [word.strip(".,?!").lower() for word in text.split()]


def text_of(heard: Transcribed) -> str:
    return "".join(segment.text for segment in heard.segments)


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Edits from one to the other."""
    row = list(range(len(heard) + 1))
    for index, word in enumerate(said, 1):
        last, row[0] = row[0], index
        for place, other in enumerate(heard, 1):
            last, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, last + (word != other))
    return row[-1]


def wer_percent(pairs: Sequence[tuple[str, str]]) -> float:
    errors = sum(word_errors(words_of(said), words_of(heard)) for said, heard in pairs)
    return 100 * errors / sum(len(words_of(said)) for said, _ in pairs)


def accuracy(artifact: Path, shared: Path) -> Iterator[Row]:
    said = json.loads((shared / "commands" / "transcripts.json").read_text())
    audios = {name: read(shared / "commands" / name) for name in said}
    with WhisperWorker(artifact, threads=THREADS) as worker:
        found: dict[str, float] = {}
        for window in ("fitted", "full"):
            pairs = [
                (text, text_of(worker.transcribe(audios[name].tobytes(), language="en", window=window)[0]))
                for name, text in said.items()
            ]
            found[window] = wer_percent(pairs)
            yield Row(
                what=f"WER on {len(said)} commands, {window} windows",
                bar=f"<= {REFERENCE_WER_PERCENT}% (transformers) + 0.5",
                measured=f"{found[window]:.2f}%",
                passed=found[window] <= REFERENCE_WER_PERCENT + 0.5,
                numbers={"wer_percent": found[window]},
            )
        yield _window_row(worker, list(audios.values()), found)


def _window_row(worker: WhisperWorker, audios: Sequence[Audio], wer: dict[str, float]) -> Row:
    """Recordings padded or cut to 4 s; both windows of each in turn."""
    seconds: dict[str, list[float]] = {"fitted": [], "full": []}
    for audio in audios[:20]:
        clip = np.zeros(4 * RATE_HZ, dtype=np.float32)
        clip[: min(len(audio), len(clip))] = audio[: len(clip)]
        for window, times in seconds.items():
            times.append(worker.transcribe(clip.tobytes(), language="en", window=window)[1])
    ratio = statistics.median(seconds["full"]) / statistics.median(seconds["fitted"])
    return Row(
        what="a 4 s clip, fitted window against 30 s",
        bar=">= 2.5x faster, WER no higher",
        measured=f"{ratio:.2f}x ({1e3 * statistics.median(seconds['fitted']):.0f} ms), "
        f"WER {wer['fitted']:.2f}% against {wer['full']:.2f}%",
        passed=ratio >= 2.5 and wer["fitted"] <= wer["full"],
        numbers={"seconds": seconds, **wer},
    )


def word_times(artifact: Path, shared: Path) -> Iterator[Row]:
    listed = json.loads((shared / "words" / "words.json").read_text())
    with WhisperWorker(artifact, threads=THREADS) as worker:
        for gap_s, label in ((GAP_S, f"gaps of {1e3 * GAP_S:.0f} ms"), (None, "as recorded, 180 ms")):
            errors_s: list[float] = []
            pairs, count = [], 0
            for name, facts in listed.items():
                audio, spoken = _spaced(read(shared / "words" / name), facts["words"], gap_s)
                heard, _ = worker.transcribe(audio.tobytes(), language="en", timestamps="word", beam_size=5)
                found = [word for segment in heard.segments for word in segment.words]
                pairs.append((facts["text"], text_of(heard)))
                count += len(spoken)
                matcher = SequenceMatcher(
                    None,
                    [words_of(one["word"])[0] for one in spoken],
                    ["".join(words_of(word.text)) for word in found],
                    autojunk=False,
                )
                for block in matcher.get_matching_blocks():
                    for one, word in zip(spoken[block.a :][: block.size], found[block.b :], strict=False):
                        errors_s += [abs(word.start_s - one["start"]), abs(word.end_s - one["end"])]
            median_ms = 1e3 * statistics.median(errors_s)
            yield Row(
                what=f"word timestamps, {label}",
                bar="median error <= 80 ms",
                measured=f"{median_ms:.0f} ms, {len(errors_s) // 2} of {count} words, WER {wer_percent(pairs):.0f}%",
                passed=median_ms <= 80,
                numbers={"errors_s": errors_s},
            )


def _spaced(audio: Audio, words: list[dict[str, Any]], gap_s: float | None) -> tuple[Audio, list[dict[str, Any]]]:
    """The words put together again with other gaps, and where they are then; the same for None."""
    if gap_s is None:
        return audio, words
    parts, moved = [np.zeros(round(0.4 * RATE_HZ), dtype=np.float32)], []
    for word in words:
        start_s = sum(map(len, parts)) / RATE_HZ
        parts.append(audio[round(word["start"] * RATE_HZ) : round(word["end"] * RATE_HZ)])
        moved.append({"word": word["word"], "start": start_s, "end": start_s + len(parts[-1]) / RATE_HZ})
        parts.append(np.zeros(round(gap_s * RATE_HZ), dtype=np.float32))
    return np.concatenate([*parts, parts[0]]), moved


def memory(artifact: Path) -> Iterator[Row]:
    """The most that a worker ever takes: 30 s, five texts side by side, word timestamps, none of which ends early."""
    with WhisperWorker(artifact, threads=THREADS) as worker:
        audio = _babble(30)
        for options in ({"beam_size": 5}, {"temperatures": (1.0,)}):
            worker.transcribe(audio, **{"language": "en", "timestamps": "word", "temperatures": (0.0,), **options})
        peak, predicted = worker.peak_bytes, worker.predicted.total_bytes
    ratio = predicted / peak
    yield Row(
        what=f"memory of {artifact.name}, predicted and at its peak",
        bar="within 10%",
        measured=f"{predicted / 1e6:.0f} MB and {peak / 1e6:.0f} MB: {ratio:.2f}",
        passed=0.9 <= ratio <= 1.1,
        numbers={"predicted_bytes": predicted, "peak_bytes": peak},
    )


def _babble(seconds: int) -> bytes:
    """Noise that comes and goes: steady noise would not be decoded at all."""
    samples = np.random.default_rng(0).normal(0, 0.05, seconds * RATE_HZ)
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 3 * np.arange(len(samples)) / RATE_HZ)
    return bytes((samples * swell).astype("<f4").tobytes())


def peer(artifact: Path, converted: Path, python: Path, *, repeats: int) -> Iterator[Row]:
    """Audio to tokens on both sides, in turns."""
    script = Path(__file__).with_name("faster_whisper_child.py")
    child = subprocess.Popen(
        [str(python), str(script), str(converted), str(STEPS), str(THREADS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    audio = _babble(30)
    seconds: dict[str, list[float]] = {"ours": [], "faster-whisper": []}
    try:
        with WhisperWorker(artifact, threads=THREADS) as worker:
            for turn in range(repeats + 1):
                time.sleep(_PAUSE_S)
                heard, ours_s = worker.transcribe(
                    audio, language="en", temperatures=(0.0,), window="full", max_tokens=STEPS, no_speech_limit=1.0
                )
                time.sleep(_PAUSE_S)
                child.stdin.write(audio)
                child.stdin.flush()
                theirs = json.loads(child.stdout.readline())
                if (heard.completion_tokens, theirs["tokens"]) != (STEPS, STEPS):
                    raise RuntimeError(f"{heard.completion_tokens} and {theirs['tokens']} tokens, not {STEPS}")
                if turn:  # the first of each warms up
                    seconds["ours"].append(ours_s)
                    seconds["faster-whisper"].append(theirs["seconds"])
    finally:
        child.stdin.close()
        child.wait(timeout=10)
    ours, theirs_s = (statistics.median(times) for times in seconds.values())
    yield Row(
        what=f"tiny shape, 30 s, {STEPS} steps, {THREADS} threads",
        bar=">= 1.0x faster-whisper INT8",
        measured=f"{theirs_s / ours:.2f}x (median {1e3 * ours:.0f} ms against {1e3 * theirs_s:.0f} ms, least "
        f"{1e3 * min(seconds['ours']):.0f} against {1e3 * min(seconds['faster-whisper']):.0f})",
        passed=theirs_s >= ours,
        numbers={"seconds": seconds},
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", type=Path, help="the artifact of whisper-commands-hf")
    parser.add_argument("audio", type=Path, help="the folder with commands/ and words/")
    parser.add_argument("--tiny", type=Path, help="an artifact of the tiny shape")
    parser.add_argument("--peer", type=Path, help="the same weights, as CTranslate2 has them")
    parser.add_argument("--peer-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    groups: dict[str, Callable[[], Iterator[Row]]] = {
        "accuracy": partial(accuracy, given.commands, given.audio),
        "word timestamps": partial(word_times, given.commands, given.audio),
        "memory of commands": partial(memory, given.commands),
    }
    if given.tiny is not None:
        groups["memory of tiny"] = partial(memory, given.tiny)
    if given.tiny is not None and given.peer is not None:
        groups["faster-whisper"] = partial(peer, given.tiny, given.peer, given.peer_python, repeats=given.repeats)
    return 0 if run_rows(groups, {"benchmark": "whisper"}) else 1


if __name__ == "__main__":
    sys.exit(main())
