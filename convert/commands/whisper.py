"""A Whisper checkpoint to ONNX: one artifact folder per precision, measured on recordings."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent.errors import ArtifactError, RequestError
from agent.store.names import check_name, check_version, suggest_name
from agent.terminal import Progress, print_json, size, table
from convert.quality.gates import QualityError, add_accept_option

if TYPE_CHECKING:
    from agent.store.manifest import Manifest
    from convert.onnx.layers import Precision
    from convert.whisper.artifact import WhisperGraphs, WhisperModel
    from convert.whisper.measure import SpeechJudge

NAME: Final = "whisper"
HELP: Final = "a Whisper checkpoint to ONNX, for transcription"
_DEFAULT_PRECISION: Final = "int8"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="a folder, or a hub id such as openai/whisper-tiny")
    parser.add_argument(
        "--precision",
        default=_DEFAULT_PRECISION,
        metavar="NAME[,NAME...]",
        help=f"int8, fp32 or fp16 (for CUDA); default: {_DEFAULT_PRECISION}",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the artifact folder; with several precisions the folder for NAME-PRECISION; default: the current folder",
    )
    parser.add_argument("--name", help="what to call the model; by default what the source is called")
    parser.add_argument("--version", default="1", help="which version it is (default: 1)")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--license", help="one line for the manifest")
    parser.add_argument(
        "--recordings", type=Path, metavar="DIR", help="audio files and transcripts.json, to measure the quality on"
    )
    add_accept_option(parser)
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="to measure with; default: one per core")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


@dataclass(frozen=True)
class Made:
    target: Path
    manifest: Manifest


def run(given: argparse.Namespace) -> int:
    targets = _targets(given)
    judge = _judge(given)
    from convert.checkpoint import open_checkpoint
    from convert.source import label, resolve
    from convert.whisper.artifact import read_model

    folder = resolve(given.source, revision=given.revision)
    with open_checkpoint(folder) as checkpoint:
        model = read_model(checkpoint)
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        made, refused = _convert(given, model, targets, judge, label(given.source, folder))
    _report(made, json=given.json)
    if refused:
        raise QualityError(" ".join(refused), hint="--accept-quality keeps it all the same.")
    return 0


def _targets(given: argparse.Namespace) -> dict[Precision, Path]:
    """Where each artifact goes: `--out` itself is for the only one. Checked before anything is downloaded."""
    from convert.onnx.layers import PRECISIONS
    from convert.source import source_name

    asked = list(dict.fromkeys(part.strip().lower() for part in given.precision.split(",")))
    for part in asked:
        if part not in PRECISIONS:
            raise RequestError(
                f"--precision: {ascii(part)[:40]} is unknown.", hint=f"Choose from {', '.join(PRECISIONS)}."
            )
    given.name = given.name or suggest_name(source_name(given.source))
    check_name(given.name)
    check_version(given.version)
    if given.threads < 0:
        raise RequestError(f"--threads: expected 0 or more, got {given.threads}.")
    # The float32 one is what the others are measured against: make it first.
    precisions = [precision for precision in ("fp32", *PRECISIONS) if precision in asked]
    folder = given.out or Path()
    targets = {precision: folder / f"{given.name}-{precision}" for precision in dict.fromkeys(precisions)}
    if len(targets) == 1 and given.out is not None:
        targets = dict.fromkeys(targets, given.out)
    for target in targets.values():
        if target.exists() or target.is_symlink():
            raise ArtifactError(
                f"{target} exists already.", hint="Choose another place with --out, or remove it first."
            )
    return targets


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
) -> tuple[list[Made], list[str]]:
    """What was made, and what was not good enough, in words."""
    from convert.artifact import new_artifact
    from convert.whisper.artifact import WhisperGraphs, manifest_fields
    from convert.whisper.measure import unmeasured

    made: list[Made] = []
    refused: list[str] = []
    if judge is not None and "fp32" not in targets:
        place = next(iter(targets.values())).parent
        graphs = WhisperGraphs(model, "fp32")
        # Never finished, so it is gone when the block ends.
        with new_artifact(place / f".{given.name}-reference", graphs.weight_bytes) as staged:
            _write(graphs, staged.folder, f"{given.name}, fp32 to compare with")
            judge.listen_to_reference(staged.folder)
    for precision, target in targets.items():
        graphs = WhisperGraphs(model, precision)
        try:
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
            made.append(Made(target, manifest))
        except QualityError as error:
            refused.append(f"{precision}: {error.message}")
    return made, refused


def _write(graphs: WhisperGraphs, folder: Path, label: str) -> None:
    print(f"{label}: {size(graphs.weight_bytes)} of weights", file=sys.stderr, flush=True)
    with Progress(label) as progress:
        graphs.write(folder, progress)


def _report(made: list[Made], *, json: bool) -> None:
    if json:
        print_json([_value(one) for one in made])
        return
    rows = []
    for one in made:
        quality = one.manifest.quality
        rows.append(
            [
                str(one.target),
                one.manifest.quantization,
                size(one.manifest.total_bytes),
                _number(quality.get("wer_percent"), "{:.2f}%"),
                _number(quality.get("wer_increase_points"), "{:+.2f}"),
                _number(quality.get("token_agreement"), "{:.1%}"),
                "yes" if quality.get("passed") else "no, accepted",
            ]
        )
    heads = ("ARTIFACT", "PRECISION", "SIZE", "WER", "POINTS ABOVE FP32", "SAME TOKENS", "GOOD")
    if rows:
        print(table(rows, heads, right=(2, 3, 4, 5)))


def _number(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else "-"


def _value(made: Made) -> dict[str, Any]:
    manifest = made.manifest
    return {
        "path": str(made.target),
        "name": manifest.name,
        "version": manifest.version,
        "quantization": manifest.quantization,
        "bytes": manifest.total_bytes,
        "quality": manifest.quality,
    }
