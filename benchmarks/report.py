"""What a benchmark hands back: rows of a table, and one JSON line last."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """One bar and how it went. `measured` is for people; `numbers` holds what it was computed from."""

    what: str
    bar: str
    measured: str
    passed: bool
    numbers: dict[str, Any] = field(default_factory=dict)


def run_rows(groups: Mapping[str, Callable[[], Iterator[Row]]], facts: Mapping[str, Any]) -> bool:
    """Run each group, print its rows as they come, then one JSON line; whether all of them passed.

    A group that raises becomes a failed row: the others still run.
    """
    rows: list[Row] = []
    print(f"{'':4} {'what':44} {'bar':34} measured", flush=True)
    for name, group in groups.items():
        try:
            for row in group():
                rows.append(row)
                _show(row)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            rows.append(Row(what=name, bar="runs", measured=f"{type(error).__name__}: {error}", passed=False))
            _show(rows[-1])
    passed = bool(rows) and all(row.passed for row in rows)
    print(json.dumps({**facts, "passed": passed, "rows": [asdict(row) for row in rows]}))
    return passed


def _show(row: Row) -> None:
    print(f"{'ok' if row.passed else 'FAIL':4} {row.what:44} {row.bar:34} {row.measured}", flush=True)
