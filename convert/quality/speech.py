"""What a Whisper artifact lost: word error rate and token agreement on recordings, against another artifact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.greedy import GreedyOptions
from agent.engines.onnx.whisper.log_mel import FRAMES_PER_SECOND
from agent.engines.onnx.whisper.model import WhisperModel
from agent.errors import RequestError
from agent.terminal import Progress
from convert.quality.gates import Gate
from convert.quality.recordings import Recording, find_recordings, read_audio, total_bytes
from convert.quality.wer import agreement, word_errors

SPEECH_GATES: Final = (
    Gate("wer_increase_points", 0.5, "most", "word error rate in points above the reference's"),
    Gate("token_agreement", 0.9, "least", "share of tokens that are the reference's"),
)


@dataclass(frozen=True)
class Transcript:
    """What an artifact made of one recording."""

    tokens: tuple[int, ...]
    text: str


def measure_speech(reference: Path, candidate: Path, recordings: Path, *, threads: int) -> dict[str, Any]:
    """Transcribes the recordings in folder `recordings` with two artifact folders and compares them (`compare`).

    Each recording goes through one full window, as the model was trained, decoded greedily without timestamps, its
    language detected. One artifact is open at a time. Raises `RequestError` for recordings that cannot be used, and
    `ArtifactError`, `ModelLoadError` or `EngineError` for an artifact that does not run.
    """
    found = find_recordings(recordings)
    with Progress("measuring speech") as progress:
        expected = transcribe_all(reference, found, threads=threads, progress=progress, part=(0, 2))
        measured = transcribe_all(candidate, found, threads=threads, progress=progress, part=(1, 2))
    return compare([recording.text for recording in found], expected, measured)


def transcribe_all(
    artifact: Path, recordings: Sequence[Recording], *, threads: int, progress: Progress, part: tuple[int, int]
) -> list[Transcript]:
    """One transcript per recording, in order. `part` (which, of how many) places this in the progress bar."""
    model = WhisperModel(artifact, SessionOptions(threads=threads))
    frames = model.spec.max_frames
    all_bytes = total_bytes(recordings)
    done_bytes = part[0] * all_bytes
    transcripts = []
    for recording in recordings:
        audio = read_audio(recording.path, frames / FRAMES_PER_SECOND)
        hypothesis = model.transcribe(audio, GreedyOptions(), frames)
        transcripts.append(Transcript(hypothesis.tokens, model.tokenizer.decode(hypothesis.tokens).strip()))
        done_bytes += recording.file_bytes
        progress(done_bytes, part[1] * all_bytes)
    return transcripts


def compare(said: Sequence[str], reference: Sequence[Transcript], candidate: Sequence[Transcript]) -> dict[str, Any]:
    """The numbers of a manifest's `quality`: word error rates in percent and points, shares from 0 to 1.

    Raises `RequestError` when nothing was said in any recording.
    """
    expected = word_errors(zip(said, (one.text for one in reference), strict=True))
    measured = word_errors(zip(said, (one.text for one in candidate), strict=True))
    if not expected.words:
        raise RequestError("There is no word in the transcripts.", hint="Write down what is said in each recording.")
    identical = sum(one.text == other.text for one, other in zip(reference, candidate, strict=True))
    pairs = [(one.tokens, other.tokens) for one, other in zip(reference, candidate, strict=True)]
    return {
        "recordings": len(said),
        "words": expected.words,
        "wer_percent": round(measured.percent, 4),
        "wer_reference_percent": round(expected.percent, 4),
        "wer_increase_points": round(measured.percent - expected.percent, 4),
        "token_agreement": round(agreement(pairs), 6),
        "identical_transcripts": round(identical / len(said), 6),
    }
