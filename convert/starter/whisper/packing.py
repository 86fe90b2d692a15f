"""From the trained checkpoint to the artifact that ships: INT8 ONNX, measured in the engine, with its model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.store.manifest import Manifest
from convert.artifact import new_artifact
from convert.checkpoint import open_checkpoint
from convert.quality.gates import Gate, check
from convert.quality.speech import SPEECH_GATES
from convert.starter.mit import MIT
from convert.starter.whisper.acoustics import Signal
from convert.starter.whisper.card import Facts, card
from convert.starter.whisper.evaluation import measure
from convert.starter.whisper.sentences import WORDS
from convert.whisper.artifact import WhisperGraphs, manifest_fields, read_model
from convert.whisper.measure import SpeechJudge

NAME: Final = "starter-whisper"
VERSION: Final = "1"
SOURCE: Final = "convert/starter/whisper, trained from nothing"
MOST_WER_PERCENT: Final = 8.0
GATES: Final = (
    *SPEECH_GATES,
    Gate("wer_short_percent", MOST_WER_PERCENT, "most", "word error rate in windows as long as the sentence"),
    Gate("wer_full_percent", MOST_WER_PERCENT, "most", "word error rate in windows of 30 s"),
    Gate("silence_written", 0.0, "most", "share of silent clips in which words were found"),
)


@dataclass(frozen=True)
class Training:
    """What the card says of how it was made."""

    seed: int
    minutes: float
    computed_s: float
    utterances: int
    hours: float


def pack(
    checkpoint: Path,
    target: Path,
    recordings: Path,
    training: Training,
    *,
    silent: Sequence[Signal],
    threads: int = 0,
    accept: bool = False,
) -> Manifest:
    """Make the artifact `target` of a Hugging Face checkpoint folder, measured on the folder `recordings` and on the
    clips `silent`, in which nothing is said.

    Raises `QualityError` for a missed gate unless `accept`; then nothing is written.
    """
    judge = SpeechJudge(recordings, threads=threads, accept=True)
    with open_checkpoint(checkpoint) as opened:
        model = read_model(opened)
        graphs = WhisperGraphs(model, "fp32")
        with new_artifact(target.with_name(f".{target.name}-reference"), graphs.weight_bytes) as staged:
            graphs.write(staged.folder, _quietly)  # never finished, so it is gone when the block ends
            judge.listen_to_reference(staged.folder)
        graphs = WhisperGraphs(model, "int8")
        with new_artifact(target, graphs.weight_bytes) as staged:
            graphs.write(staged.folder, _quietly)
            lost = judge.judge(staged.folder)
            measured = measure(staged.folder, recordings, silent, threads=threads)
            kept = {key: value for key, value in lost.items() if key not in ("gates", "passed", "accepted", "measured")}
            facts = Facts(
                parameters=model.parameters,
                graph_bytes=graphs.weight_bytes,
                words=len(WORDS),
                utterances=training.utterances,
                hours=training.hours,
                seed=training.seed,
                minutes=training.minutes,
                computed_s=training.computed_s,
                measured=measured,
            )
            (staged.folder / "README.md").write_text(card(facts), "utf-8")
            (staged.folder / "LICENSE").write_text(MIT, "utf-8")
            fields: dict[str, Any] = manifest_fields(model, "int8")
            return staged.finish(
                name=NAME,
                version=VERSION,
                source=SOURCE,
                license="mit",
                memory_bytes=graphs.memory(staged.folder),
                quality=check({**kept, **measured}, GATES, accept=accept),
                **fields,
            )


def _quietly(done_bytes: int, total_bytes: int) -> None:
    """Writing a few megabytes needs no progress bar."""
