"""Time and peak memory of `edge-convert whisper` on published shapes with random weights, against their bars.

    python -m benchmarks.conversion.whisper                   # tiny, base, small, large-v3-turbo; 6 GB of disk
    python -m benchmarks.conversion.whisper tiny --precisions int8 --run

Each conversion is a process of its own, whose peak resident memory the kernel reports. `--run` then measures the
artifact on a recording of noise, which loads it and decodes with it. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.models.whisper_shapes import SHAPES, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_SHAPES = ("tiny", "base", "small", "large-v3-turbo")
PRECISIONS = ("fp32", "int8", "fp16")

# The bars: seconds and bytes for the smallest, for the others a multiple of the checkpoint's size.
TINY_LIMIT_S = 30.0
TINY_LIMIT_BYTES = 1_000_000_000
LARGE_LIMIT_RATIO = 2.5
LARGE_FROM_BYTES = 1_000_000_000
"""Below this, the interpreter and its libraries outweigh the weights."""

RECORDING_S = 2
SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True)
class Row:
    """One conversion. `checkpoint_bytes` is the size of model.safetensors, in float16."""

    shape: str
    precision: str
    seconds: float
    peak_rss_bytes: int
    checkpoint_bytes: int
    artifact_bytes: int
    run_s: float | None

    @property
    def ratio(self) -> float:
        return self.peak_rss_bytes / self.checkpoint_bytes

    @property
    def passed(self) -> bool:
        if self.shape.startswith("tiny"):
            return self.seconds <= TINY_LIMIT_S and self.peak_rss_bytes <= TINY_LIMIT_BYTES
        return self.checkpoint_bytes < LARGE_FROM_BYTES or self.ratio <= LARGE_LIMIT_RATIO


def measure(shape: str, precision: str, checkpoint: Path, work: Path, *, run: bool) -> Row:
    artifact = work / f"{shape}-{precision}"
    options = [str(checkpoint), "--precision", precision, "--accept-quality"]
    seconds, peak = _convert([*options, "--out", str(artifact)])
    run_s = None
    if run:
        recordings = _recordings(work / "recordings")
        again = work / "run"
        run_s, _ = _convert([*options, "--out", str(again), "--recordings", str(recordings)])
        shutil.rmtree(again)
    size = sum(path.stat().st_size for path in artifact.iterdir())
    shutil.rmtree(artifact)
    weights = (checkpoint / "model.safetensors").stat().st_size
    return Row(shape, precision, seconds, peak, weights, size, run_s)


def _convert(arguments: list[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of one `edge-convert whisper`, which must succeed."""
    command = [sys.executable, "-m", "convert.cli", "whisper", *arguments]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with status {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit


def _recordings(folder: Path) -> Path:
    """A folder with one recording of quiet noise: 16-bit mono WAV."""
    folder.mkdir(exist_ok=True)
    samples = np.random.default_rng(0).normal(0, 300, RECORDING_S * SAMPLE_RATE_HZ).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ, 2, 16)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    (folder / "noise.wav").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    (folder / "transcripts.json").write_text(json.dumps({"noise.wav": "nothing"}))
    return folder


def _table(rows: list[Row]) -> str:
    lines = [
        f"{'shape':16} {'precision':9} {'seconds':>8} {'peak RSS':>9} {'/ source':>8} {'artifact':>9} {'run':>7}  bar"
    ]
    for row in rows:
        ran = "" if row.run_s is None else f"{row.run_s:.1f} s"
        lines.append(
            f"{row.shape:16} {row.precision:9} {row.seconds:8.1f} {row.peak_rss_bytes / 1e6:6.0f} MB {row.ratio:8.2f} "
            f"{row.artifact_bytes / 1e6:6.0f} MB {ran:>7}  {'ok' if row.passed else 'MISSED'}"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--precisions", default="fp32,int8", help="separated by commas (default: fp32,int8)")
    parser.add_argument("--work", type=Path, help="where to put checkpoints and artifacts; default: a temporary folder")
    parser.add_argument("--run", action="store_true", help="decode with each artifact as well")
    given = parser.parse_args()
    shapes = given.shapes or DEFAULT_SHAPES
    precisions = given.precisions.split(",")
    for unknown in [*(set(shapes) - set(SHAPES)), *(set(precisions) - set(PRECISIONS))]:
        parser.error(f"{unknown!r} is unknown")
    rows = []
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        for shape in shapes:
            checkpoint = write_checkpoint(SHAPES[shape], Path(folder) / "checkpoint")
            for precision in precisions:
                rows.append(measure(shape, precision, checkpoint, Path(folder), run=given.run))
            shutil.rmtree(checkpoint)
    print(_table(rows))
    print(json.dumps([{**asdict(row), "passed": row.passed} for row in rows]))
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
