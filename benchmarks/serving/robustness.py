"""What the daemon survives, and whether its text is right under load.

    python -m benchmarks.serving.robustness --stories stories260k-f32.gguf
    python -m benchmarks.serving.robustness --only kills --quick

Every row starts a daemon of its own with a model of 150,000 parameters, written on the spot. Without `--stories` (a
trained model, for text with a meaning) the same greedy comparison runs on the random one.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.models import shapes
from benchmarks.report import Row, run_rows
from benchmarks.serving import fault_rows, store_rows, text_rows

_GROUPS: dict[str, Callable[..., Iterator[Row]]] = {
    "greedy": text_rows.batched_greedy,
    "schemas": text_rows.schemas,
    "stops": text_rows.stops,
    "kills": fault_rows.kills,
    "corrupt": store_rows.corrupt,
    "flood": fault_rows.flood,
    "budget": store_rows.budget,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*_GROUPS], help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="a smoke run: a tenth of the cases")
    parser.add_argument("--stories", type=Path, help="stories260k-f32.gguf, for the greedy row")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-agent-shapes-") as folder:
        tiny = shapes.ensure("tiny", "F32", Path(folder))
        groups: dict[str, Callable[[], Iterator[Row]]] = {}
        for name in arguments.only or _GROUPS:
            if name == "greedy":
                stories: Path | None = arguments.stories
                groups[name] = partial(
                    text_rows.batched_greedy, stories or tiny, quick=arguments.quick, stories=stories is not None
                )
            else:
                groups[name] = partial(_GROUPS[name], tiny, quick=arguments.quick)
        facts = {"machine": platform.machine(), "cores": os.cpu_count(), "quick": arguments.quick}
        return 0 if run_rows(groups, facts) else 1


if __name__ == "__main__":
    sys.exit(main())
