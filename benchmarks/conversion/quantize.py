"""The bars of `edge-convert quantize`: llama.cpp's own bytes, in little memory; and what an imatrix is worth.

    python -m benchmarks.conversion.quantize [--cache DIR] [--large]

Models have published shapes and random weights (benchmarks/models/shapes.py), kept in the cache; `--large` adds the
largest tensors of a 7B, and 4 GB of files. The imatrix is measured on the trained model of 260k parameters, where it
is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.models import shapes
from benchmarks.models.shapes import Quant
from benchmarks.report import Row, run_rows

ROOT = Path(__file__).resolve().parents[2]
STORIES_MODEL = ROOT.parent / "shared" / "models" / "stories260k-f32.gguf"
STORIES_TEXT = ROOT / "tests" / "convert" / "quantization" / "stories.txt"
RSS_BAR_BYTES = 600_000_000
LARGE_BAR_BYTES = 2_000_000_000
LEVEL = "Q4_K_M"


@dataclass(frozen=True, kw_only=True)
class Converted:
    """One run of the command. `told` is its JSON; `own_bytes` the most that it had itself, besides its child."""

    told: dict[str, Any]
    own_bytes: int
    seconds: float

    @property
    def peak_bytes(self) -> int:
        """Both processes at their peaks, as if those came together."""
        return int(self.told["peak_memory_bytes"]) + self.own_bytes


def convert(source: Path, target: Path, *options: str) -> Converted:
    """`edge-convert quantize`, in a process of its own that tells its peak memory last."""
    program = (
        "import sys; from convert.cli import main; status = main(sys.argv[1:])\n"
        "peak = open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]\n"
        "print(peak, file=sys.stderr); sys.exit(status)"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, "quantize", str(source), str(target), *options, "--json"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    own_bytes = int(done.stderr.split()[-1]) * 1024
    return Converted(told=json.loads(done.stdout), own_bytes=own_bytes, seconds=time.monotonic() - began)


def call_directly(source: Path, target: Path) -> tuple[int, float]:
    """`llama_model_quantize` with its defaults, in a process of its own: (peak bytes, seconds)."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        import llama_cpp

        logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL + 1)
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{LEVEL}")
        os._exit(llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), parameters))
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise RuntimeError(f"llama_model_quantize ended with {status}")
    return _peak(usage), time.monotonic() - began


def size_rows(cache: Path, folder: Path, shape: str, quant: Quant, bar_bytes: int) -> Iterator[Row]:
    source = shapes.ensure(shape, quant, cache)
    ours, direct = folder / "ours.gguf", folder / "direct.gguf"
    converted = convert(source, ours, "--quant", LEVEL)
    direct_bytes, direct_s = call_directly(source, direct)
    same = digest(ours) == digest(direct)
    yield Row(
        what=f"{shape} {quant} to {LEVEL}: bytes",
        bar="those of llama.cpp called directly",
        measured=f"{'the same' if same else 'different'}, {ours.stat().st_size / 1e6:.0f} MB",
        passed=same,
        numbers={"seconds": converted.seconds, "direct_seconds": direct_s},
    )
    yield Row(
        what=f"{shape} {quant} to {LEVEL}: memory",
        bar=f"<= {bar_bytes / 1e6:.0f} MB",
        measured=f"{converted.peak_bytes / 1e6:.0f} MB, both processes; llama.cpp directly {direct_bytes / 1e6:.0f} MB",
        passed=converted.peak_bytes <= bar_bytes,
        numbers={"peak_bytes": converted.peak_bytes, "own_bytes": converted.own_bytes, "direct_bytes": direct_bytes},
    )
    direct.unlink()
    again = folder / "again.gguf"
    convert(source, again, "--quant", LEVEL, "--threads", "1", "--max-memory", "300MB")
    same = digest(ours) == digest(again)
    yield Row(
        what=f"{shape} {quant} again: 1 thread, 300 MB",
        bar="the same bytes",
        measured="the same" if same else "different",
        passed=same,
    )
    ours.unlink()
    again.unlink()


def imatrix_rows(folder: Path) -> Iterator[Row]:
    matrix = folder / "imatrix.gguf"
    collecting = ("--imatrix", str(STORIES_TEXT), "--save-imatrix", str(matrix))
    for level in ("IQ3_XXS", "IQ3_S", "Q3_K_S", "Q3_K_M"):
        options = ("--quant", level, "--measure", "--accept-quality")
        without = convert(STORIES_MODEL, folder / f"{level}.gguf", *options).told["quality"]["kl_mean"]
        how = ("--imatrix", str(matrix)) if matrix.exists() else collecting
        told = convert(STORIES_MODEL, folder / f"{level}-imatrix.gguf", *options, *how).told
        found = told["quality"]["kl_mean"]
        yield Row(
            what=f"stories260k {level} with an imatrix",
            bar="KL divergence lower than without",
            measured=f"{found:.4f} and {without:.4f} nats per token ({1 - found / without:.0%} less)",
            passed=found < without,
            numbers={"with": found, "without": without, "tensors": told["tensors"]},
        )


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _peak(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "edge-agent-shapes")
    parser.add_argument("--large", action="store_true", help="also the largest tensors of a 7B")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.cache.parent) as name:
        folder = Path(name)

        def sizes(shape: str, quant: Quant, bar_bytes: int) -> Callable[[], Iterator[Row]]:
            return lambda: size_rows(given.cache, folder, shape, quant, bar_bytes)

        groups: dict[str, Callable[[], Iterator[Row]]] = {
            "0.5B F16": sizes("qwen2.5-0.5b", "F16", RSS_BAR_BYTES),
            "0.5B F32": sizes("qwen2.5-0.5b", "F32", RSS_BAR_BYTES),
        }
        if given.large:
            groups["7B"] = sizes("qwen2.5-7b-2-layers", "F16", LARGE_BAR_BYTES)
        if STORIES_MODEL.exists():
            groups["imatrix"] = lambda: imatrix_rows(folder)
        passed = run_rows(groups, {"benchmark": "convert_quantize"})
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
