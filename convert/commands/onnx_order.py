"""What the commands that make ONNX artifacts have in common: their options, and where each artifact goes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import RequestError
from convert.artifact import refuse_existing
from convert.commands import order

if TYPE_CHECKING:
    from convert.onnx.layers import Precision

_DEFAULT_PRECISION: Final = "int8"


def add_options(parser: argparse.ArgumentParser, *, example: str) -> None:
    """`example` is a hub id of such a checkpoint."""
    order.add_options(parser, example=example, several="precisions", ending="PRECISION")
    parser.add_argument(
        "--precision",
        default=_DEFAULT_PRECISION,
        metavar="NAME[,NAME...]",
        help=f"int8, fp32 or fp16 (for CUDA); default: {_DEFAULT_PRECISION}",
    )
    parser.add_argument("--license", help="one line for the manifest")


def targets_of(given: argparse.Namespace) -> dict[Precision, Path]:
    """Where each artifact goes: `--out` itself is for the only one. Sets `given.name`.

    float32, which the others are measured against, comes first. Checked before anything is downloaded: raises
    `RequestError` for an option that means nothing, `ArtifactError` for a place that is taken.
    """
    from convert.onnx.layers import PRECISIONS

    asked = list(dict.fromkeys(part.strip().lower() for part in given.precision.split(",")))
    for part in asked:
        if part not in PRECISIONS:
            raise RequestError(
                f"--precision: {ascii(part)[:40]} is unknown.", hint=f"Choose from {', '.join(PRECISIONS)}."
            )
    given.name = order.name_of(given)
    order.check_threads(given)
    folder = given.out or Path()
    precisions = sorted((precision for precision in PRECISIONS if precision in asked), key=lambda one: one != "fp32")
    targets = {precision: folder / f"{given.name}-{precision}" for precision in precisions}
    if len(targets) == 1 and given.out is not None:
        targets = dict.fromkeys(targets, given.out)
    for target in targets.values():
        refuse_existing(target)
    return targets
