"""How the precisions of a Whisper model are compared: word error rate on recordings, and windows per second."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.greedy import GreedyOptions
from agent.engines.onnx.whisper.log_mel import FRAMES_PER_SECOND
from agent.engines.onnx.whisper.model import WhisperModel as LoadedModel
from agent.store.manifest import MemoryNeed
from convert.checkpoint import Checkpoint
from convert.onnx.layers import Precision
from convert.quality.recordings import find_recordings, read_audio
from convert.quality.speech import SPEECH_GATES
from convert.report.level import Column, Speed, Subject
from convert.report.onnx import FOR_CPU, FOR_CUDA, RATE
from convert.whisper.artifact import WhisperGraphs, read_model
from convert.whisper.measure import SpeechJudge

_LIMITS = {gate.key: gate.limit for gate in SPEECH_GATES}
_TIMED_RECORDINGS: Final = 3

TRANSCRIPTION: Final = Subject(
    task="transcribe",
    loss=Column("wer_increase_points", "Above fp32, points", "{:+.2f}"),
    ideal=0.0,
    limit=_LIMITS["wer_increase_points"],
    axis="Word error rate above fp32's (percentage points)",
    negligible=0.1,
    why_negligible=(
        "A word error rate of up to 0.1 points above that of fp32 counts as no loss: one word in a thousand. Of levels "
        "without a loss the smallest is taken; of the others, the best that fits. fp16 is for boards with CUDA, and "
        "int8 for those without."
    ),
    columns=(
        Column("wer_percent", "Word error rate", "{:.2f}%"),
        Column("wer_increase_points", "Above fp32, points", "{:+.2f}"),
        Column("token_agreement", "Same tokens", "{:.1%}"),
    ),
    speeds=(Speed(RATE, "Speed", "times real time"),),
    method=(),
    speed_method="recordings padded to a full window, as seconds of window per second",
    for_cuda=FOR_CUDA,
    for_cpu=FOR_CPU,
)
"""How transcription models are compared; `method` depends on the recordings."""


class SpeechMaker:
    """A Whisper checkpoint at several precisions, measured on a folder of recordings. See `onnx.Maker`.

    Raises `ArtifactError` for a checkpoint that is no whole Whisper model, `RequestError` for bad recordings.
    """

    def __init__(self, checkpoint: Checkpoint, recordings: Path, *, threads: int) -> None:
        self._model = read_model(checkpoint)
        self._judge = SpeechJudge(recordings, threads=threads, accept=True)
        self._recordings = find_recordings(recordings)
        self.subject = replace(TRANSCRIPTION, method=_method(recordings.name, len(self._recordings)))

    @property
    def longest_tokens(self) -> int:
        """The decoder's positions."""
        return self._model.shape.max_target_positions

    def needed_bytes(self, precisions: tuple[Precision, ...]) -> int:
        return sum(WhisperGraphs(self._model, precision).weight_bytes for precision in {"fp32", *precisions})

    def write(self, precision: Precision, folder: Path) -> MemoryNeed:
        graphs = WhisperGraphs(self._model, precision)
        graphs.write(folder, lambda done, total: None)
        return graphs.memory(folder)

    def learn(self, folder: Path) -> None:
        self._judge.listen_to_reference(folder)

    def judge(self, folder: Path) -> dict[str, Any]:
        return self._judge.judge(folder)

    def pace(self, folder: Path, threads: int) -> float:
        model = LoadedModel(folder, SessionOptions(threads=threads))
        frames = model.spec.max_frames
        window_s = frames / FRAMES_PER_SECOND
        audio = [read_audio(one.path, window_s) for one in self._recordings[:_TIMED_RECORDINGS]]
        model.transcribe(audio[0], GreedyOptions(), frames)
        started = time.perf_counter()
        for one in audio:
            model.transcribe(one, GreedyOptions(), frames)
        return window_s * len(audio) / (time.perf_counter() - started)


def _method(name: str, count: int) -> tuple[str, ...]:
    limits = ", ".join(f"{gate.what} at {gate.at} {gate.limit:g}" for gate in SPEECH_GATES)
    return (
        f"**Quality**: {count} recordings ({name}), each decoded greedily in one full window. *Word error rate* is "
        "against what was said; *same tokens* is how much of the tokens is fp32's.",
        f"**Gates**: {limits}.",
    )
