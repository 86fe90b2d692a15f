"""What the commands that make ONNX artifacts have in common: their options, and where each artifact goes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import ArtifactError, RequestError
from agent.store.names import check_name, check_version, suggest_name
from convert.quality.gates import add_accept_option

if TYPE_CHECKING:
    from convert.onnx.layers import Precision

_DEFAULT_PRECISION: Final = "int8"


def add_options(parser: argparse.ArgumentParser, *, example: str) -> None:
    """`example` is a hub id of such a checkpoint."""
    parser.add_argument("source", metavar="SRC", help=f"a folder, or a hub id such as {example}")
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
    add_accept_option(parser)
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="to measure with; default: one per core")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def targets_of(given: argparse.Namespace) -> dict[Precision, Path]:
    """Where each artifact goes: `--out` itself is for the only one. Sets `given.name`.

    float32, which the others are measured against, comes first. Checked before anything is downloaded: raises
    `RequestError` for an option that means nothing, `ArtifactError` for a place that is taken.
    """
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
    folder = given.out or Path()
    precisions = sorted((precision for precision in PRECISIONS if precision in asked), key=lambda one: one != "fp32")
    targets = {precision: folder / f"{given.name}-{precision}" for precision in precisions}
    if len(targets) == 1 and given.out is not None:
        targets = dict.fromkeys(targets, given.out)
    for target in targets.values():
        if target.exists() or target.is_symlink():
            raise ArtifactError(
                f"{target} exists already.", hint="Choose another place with --out, or remove it first."
            )
    return targets
