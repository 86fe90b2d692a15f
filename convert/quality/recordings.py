"""Recordings with transcripts to measure on: a folder of audio files and `transcripts.json` ({file: text})."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from agent.engines.onnx.whisper.mel_filters import SAMPLE_RATE_HZ
from agent.errors import RequestError
from agent.store.names import path_fault

TRANSCRIPTS_FILE: Final = "transcripts.json"
TRANSCRIPTS_LIMIT_BYTES: Final = 64 * 1024 * 1024
LOWEST_RATE_HZ: Final = 2_000
HIGHEST_RATE_HZ: Final = 384_000
MOST_CHANNELS: Final = 32
_HINT: Final = f"Give a folder of recordings and {TRANSCRIPTS_FILE}, which maps each file to what is said in it."
_SHOWN: Final = 3


@dataclass(frozen=True)
class Recording:
    """One audio file and what is said in it."""

    path: Path
    text: str

    @property
    def file_bytes(self) -> int:
        return self.path.stat().st_size


def find_recordings(folder: Path) -> list[Recording]:
    """What `transcripts.json` in `folder` lists, sorted by name; audio that it does not list is left aside.

    Raises `RequestError` for a folder without it, one that lists nothing, and files that are not there.
    """
    transcripts = _read_transcripts(folder)
    if not transcripts:
        raise RequestError(f"{folder / TRANSCRIPTS_FILE} lists no recordings.", hint=_HINT)
    for name in transcripts:
        if fault := path_fault(name):
            raise RequestError(f"{TRANSCRIPTS_FILE}: the file name {name[:80]!a} {fault}.", hint=_HINT)
    missing = sorted(name for name in transcripts if not (folder / name).is_file())
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        listed = ", ".join(missing[:_SHOWN])
        raise RequestError(f"{TRANSCRIPTS_FILE} lists {listed}{more}, not in {folder}.", hint=_HINT)
    return [Recording(folder / name, text) for name, text in sorted(transcripts.items())]


def read_audio(path: Path, limit_s: float) -> npt.NDArray[np.float32]:
    """Mono audio at 16 kHz, float32 [samples] in -1..1, from whatever libsndfile reads (wav, flac, ogg, mp3).

    Channels are averaged. The header is checked before anything is decoded, so a long file costs nothing. Raises
    `RequestError` for a file that is not audio, is empty, longer than `limit_s`, or has samples that are not numbers.
    """
    try:
        with soundfile.SoundFile(path) as file:
            _check_header(path, file, limit_s)
            samples = file.read(dtype="float32", always_2d=True)
            rate_hz = file.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise RequestError(f"{path.name} cannot be read as audio: {_reason(error)}.", hint=_HINT) from None
    if not len(samples):
        raise RequestError(f"{path.name} has no audio in it.", hint=_HINT)
    if not np.isfinite(samples).all():
        raise RequestError(f"{path.name} has samples that are not finite numbers.", hint="Record or export it again.")
    mono = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))
    if rate_hz != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    # Resampling rounds up, and may make one sample more than the window has.
    return np.asarray(mono[: int(limit_s * SAMPLE_RATE_HZ)], dtype=np.float32)


def _read_transcripts(folder: Path) -> dict[str, str]:
    path = folder / TRANSCRIPTS_FILE
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder.", hint=_HINT)
    try:
        if path.stat().st_size > TRANSCRIPTS_LIMIT_BYTES:
            raise RequestError(f"{path} is larger than {TRANSCRIPTS_LIMIT_BYTES} bytes.", hint=_HINT)
        transcripts: dict[str, str] = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        raise RequestError(f"{folder} has no {TRANSCRIPTS_FILE}.", hint=_HINT) from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.", hint=_HINT) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"{path} is not a JSON object of texts by file name: {error}.", hint=_HINT) from None
    return transcripts


def _check_header(path: Path, file: soundfile.SoundFile, limit_s: float) -> None:
    if not LOWEST_RATE_HZ <= file.samplerate <= HIGHEST_RATE_HZ:
        raise RequestError(
            f"{path.name} has {file.samplerate} samples a second, not {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}."
        )
    if file.channels > MOST_CHANNELS:
        raise RequestError(f"{path.name} has {file.channels} channels, more than {MOST_CHANNELS}.")
    if file.frames > limit_s * file.samplerate:
        length_s = file.frames / file.samplerate
        raise RequestError(
            f"{path.name} is {length_s:.1f} s long, more than the {limit_s:g} s that the model hears at once.",
            hint="Cut it into shorter recordings.",
        )


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).strip().rstrip(".")


def total_bytes(recordings: Sequence[Recording]) -> int:
    """Size of all files, for a progress bar."""
    return sum(recording.file_bytes for recording in recordings)
