"""What the artifact makes of held-out sentences in held-out voices, and of silence; in the engine that devices run."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.fallback import Thresholds, is_silence
from agent.engines.onnx.whisper.greedy import GreedyOptions
from agent.engines.onnx.whisper.log_mel import FRAMES_PER_SECOND
from agent.engines.onnx.whisper.model import WhisperModel
from convert.quality.recordings import find_recordings, read_audio
from convert.quality.wer import word_errors
from convert.starter.whisper import acoustics
from convert.starter.whisper.acoustics import RATE_HZ, Signal
from convert.starter.whisper.scenes import nothing
from convert.starter.whisper.sentences import held_out_sentences
from convert.starter.whisper.synthesis import speak
from convert.starter.whisper.voices import draw_voice

RECORDINGS: Final = 200
SILENT: Final = 60
MARGIN_S: Final = 1.0
"""Of the window beyond the recording, as the live transcription has it."""
LEAST_WINDOW_S: Final = 4.0
SNR_DB: Final = (12.0, 35.0)


@dataclass(frozen=True)
class Heard:
    expected: str
    text: str


def write_recordings(folder: Path, seed: int, count: int = RECORDINGS) -> None:
    """WAV files and transcripts.json: held-out sentences in held-out voices, a third in a room, all with some noise.
    A folder that is there stays."""
    if (folder / "transcripts.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng, sounds = random.Random(f"recordings {seed}"), np.random.default_rng(seed)
    transcripts: dict[str, str] = {}
    for text in held_out_sentences(count, seed):
        voice = draw_voice(rng, held_out=True)
        speech = speak(text, voice)
        if speech is None:
            continue
        name = f"{len(transcripts):03d}-{voice.name.replace('+', '_')}.wav"
        soundfile.write(folder / name, recorded(np.divide(speech.samples, 32768, dtype=np.float32), sounds), RATE_HZ)
        transcripts[name] = text
    (folder / "transcripts.json").write_text(json.dumps(transcripts, indent=1), "utf-8")


def recorded(samples: Signal, rng: np.random.Generator) -> Signal:
    """As a microphone in a room would have it: 0.4 s of room before and after."""
    quiet = np.zeros(int(0.4 * RATE_HZ), np.float32)
    audio = np.concatenate([quiet, samples, quiet]) * np.float32(rng.uniform(0.15, 0.9))
    if rng.random() < 1 / 3:
        audio = acoustics.through(audio, acoustics.room(rng))
    kind = str(rng.choice(acoustics.NOISES[:4]))
    audio = acoustics.with_noise(audio, acoustics.noise(kind, len(audio), rng), rng.uniform(*SNR_DB))
    return np.clip(audio, -1, 1).astype(np.float32)


def silent_clips(seed: int, count: int = SILENT) -> list[Signal]:
    """Silence and noise of 2 to 8 s, from nothing to loud."""
    rng = np.random.default_rng(seed)
    return [nothing(int(rng.uniform(2, 8) * RATE_HZ), rng) for _ in range(count)]


def measure(artifact: Path, recordings: Path, silent: Sequence[Signal], *, threads: int = 0) -> dict[str, Any]:
    """`wer_short_percent` in windows as long as the recording, `wer_full_percent` in 30 s, and `silence_written`, the
    share of silent clips in which words were found: in either window, with the engine's own rule for silence.
    """
    model = WhisperModel(artifact, SessionOptions(threads=threads))
    short, full = [], []
    for recording in find_recordings(recordings):
        audio = read_audio(recording.path, model.spec.max_frames / FRAMES_PER_SECOND)
        short.append(Heard(recording.text, _text(model, audio, _frames(audio))))
        full.append(Heard(recording.text, _text(model, audio, model.spec.max_frames)))
    written = [any(_text(model, clip, frames) for frames in (_frames(clip), model.spec.max_frames)) for clip in silent]
    return {
        "recordings": len(short),
        "wer_short_percent": _wer(short),
        "wer_full_percent": _wer(full),
        "silent_clips": len(silent),
        "silence_written": round(sum(written) / len(written), 4) if written else 0.0,
    }


def heard_text(model: WhisperModel, audio: Signal) -> str:
    """What it writes of a recording, in a window as long as that. Empty for silence."""
    return _text(model, audio, _frames(audio))


def _frames(audio: Signal) -> int:
    """Of a window that fits: even, as the encoder halves it."""
    seconds = max(LEAST_WINDOW_S, len(audio) / RATE_HZ + MARGIN_S)
    return int(seconds * FRAMES_PER_SECOND) // 2 * 2


def _text(model: WhisperModel, audio: Signal, frames: int) -> str:
    heard = model.transcribe(audio, GreedyOptions(), frames)
    return "" if is_silence(heard, Thresholds()) else str(model.tokenizer.decode(heard.tokens)).strip()


def _wer(heard: Sequence[Heard]) -> float:
    return round(word_errors((one.expected, one.text) for one in heard).percent, 2)
