"""A Whisper checkpoint to ONNX: one artifact folder per precision, measured on recordings."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import RequestError
from agent.terminal import Progress, size
from convert.commands.onnx_order import add_options, targets_of
from convert.commands.order import say
from convert.made import Made, Results

if TYPE_CHECKING:
    from convert.onnx.layers import Precision
    from convert.whisper.artifact import WhisperGraphs, WhisperModel
    from convert.whisper.measure import SpeechJudge

NAME: Final = "whisper"
HELP: Final = "a Whisper checkpoint to ONNX, for transcription"
_COLUMNS: Final = {
    "WER": ("wer_percent", "{:.2f}%"),
    "POINTS ABOVE FP32": ("wer_increase_points", "{:+.2f}"),
    "SAME TOKENS": ("token_agreement", "{:.1%}"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    add_options(parser, example="openai/whisper-tiny")
    parser.add_argument(
        "--recordings", type=Path, metavar="DIR", help="audio files and transcripts.json, to measure the quality on"
    )


def run(given: argparse.Namespace) -> int:
    targets = targets_of(given)
    judge = _judge(given)
    from convert.checkpoint import open_checkpoint
    from convert.source import label, resolve
    from convert.whisper.artifact import read_model

    folder = resolve(given.source, revision=given.revision)
    with open_checkpoint(folder) as checkpoint:
        model = read_model(checkpoint)
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        results = _convert(given, model, targets, judge, label(given.source, folder))
    results.tell(_COLUMNS, json=given.json)
    return 0


def _judge(given: argparse.Namespace) -> SpeechJudge | None:
    """None where there is nothing to measure on, which must have been accepted."""
    if given.recordings is None:
        if not given.accept_quality:
            raise RequestError(
                "There is nothing to measure the quality on.",
                hint="Give --recordings DIR, a folder of audio files and transcripts.json ({file name: what is said}); "
                "or --accept-quality, which makes an artifact that was not measured.",
            )
        return None
    from convert.whisper.measure import SpeechJudge

    return SpeechJudge(given.recordings, threads=given.threads, accept=given.accept_quality)


def _convert(
    given: argparse.Namespace,
    model: WhisperModel,
    targets: dict[Precision, Path],
    judge: SpeechJudge | None,
    source: str,
) -> Results:
    from convert.artifact import new_artifact
    from convert.whisper.artifact import WhisperGraphs, manifest_fields
    from convert.whisper.measure import unmeasured

    if judge is not None and "fp32" not in targets:
        place = next(iter(targets.values())).parent
        graphs = WhisperGraphs(model, "fp32")
        # Never finished, so it is gone when the block ends.
        with new_artifact(place / f".{given.name}-reference", graphs.weight_bytes) as staged:
            _write(graphs, staged.folder, f"{given.name}, fp32 to compare with")
            judge.listen_to_reference(staged.folder)

    def make(precision: Precision, target: Path) -> Made:
        graphs = WhisperGraphs(model, precision)
        with new_artifact(target, graphs.weight_bytes) as staged:
            _write(graphs, staged.folder, f"{given.name}, {precision}")
            if judge is not None and precision == "fp32":
                judge.listen_to_reference(staged.folder)
            quality = unmeasured() if judge is None else judge.judge(staged.folder)
            manifest = staged.finish(
                name=given.name if len(targets) == 1 else f"{given.name}-{precision}",
                version=given.version,
                source=source,
                license=given.license,
                memory_bytes=graphs.memory(staged.folder),
                quality=quality,
                **manifest_fields(model, precision),
            )
        return Made(target, manifest)

    results = Results()
    for precision, target in targets.items():
        results.take(precision, partial(make, precision, target))
    return results


def _write(graphs: WhisperGraphs, folder: Path, label: str) -> None:
    say(f"{label}: {size(graphs.weight_bytes)} of weights")
    with Progress(label) as progress:
        graphs.write(folder, progress)
