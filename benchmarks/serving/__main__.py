"""The speed and the footprint of the daemon, against the raw loop in the same run.

    python -m benchmarks.serving                      # everything, on the 0.5B shape at Q4_K_M
    python -m benchmarks.serving --only throughput --quick

Daemon and raw loop run the same file with the same context, threads and sampler chain, in turns: raw, daemon, daemon,
raw. A ratio of theirs is the median of those of the turns. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.models import shapes
from benchmarks.report import Row, run_rows
from benchmarks.serving import cancel_rows, footprint_rows, latency_rows, throughput_rows
from benchmarks.serving.bench import Bench, opened

CACHE_DIR = Path(tempfile.gettempdir()) / "edge-agent-shapes"
_WITH_MODEL: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "throughput": throughput_rows.throughput,
    "first-token": latency_rows.first_token,
    "prefix": latency_rows.shared_prefix,
    "prefill": latency_rows.prefill_stall,
    "cancel": cancel_rows.cancel,
}
_WITHOUT = ("idle", "memory")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*_WITH_MODEL, *_WITHOUT], help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="a smoke run: fewer repeats, shorter prompts")
    parser.add_argument("--model", type=Path, help="a GGUF file instead of the generated one")
    parser.add_argument("--shape", choices=sorted(shapes.SHAPES), default="qwen2.5-0.5b")
    parser.add_argument("--quant", choices=shapes.QUANTS, default="Q4_K_M")
    parser.add_argument("--cache-dir", type=Path, default=CACHE_DIR, help="where generated models are kept")
    arguments = parser.parse_args()
    wanted = arguments.only or [*_WITHOUT, *_WITH_MODEL]
    path = arguments.model or shapes.ensure(arguments.shape, arguments.quant, arguments.cache_dir)
    quick = arguments.quick
    groups: dict[str, Callable[[], Iterator[Row]]] = {}
    if "idle" in wanted:
        groups["idle"] = lambda: footprint_rows.idle_daemon(quick=quick)
    if "memory" in wanted:
        files = {
            path.stem: path,
            "tiny": shapes.ensure("tiny", "F32", arguments.cache_dir),
            "minilm": shapes.ensure("minilm", "F16", arguments.cache_dir),
        }
        groups["memory"] = lambda: footprint_rows.memory(files, quick=quick)
    facts = {
        "model": path.name,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "quick": quick,
    }
    with ExitStack() as stack:
        benches: list[Bench] = []

        def on_bench(group: Callable[[Bench], Iterator[Row]]) -> Iterator[Row]:
            # Both sides are loaded by the first group that needs them, after those that want the machine to itself.
            if not benches:
                benches.append(stack.enter_context(opened(path, quick=quick)))
            yield from group(benches[0])

        groups |= {name: partial(on_bench, group) for name, group in _WITH_MODEL.items() if name in wanted}
        return 0 if run_rows(groups, facts) else 1


if __name__ == "__main__":
    sys.exit(main())
