"""A process that indexes is killed with SIGKILL at random moments, until it gets through."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.embedding import search_rows


@pytest.mark.parametrize(
    ("count", "kills"), [(3_000, 4), pytest.param(20_000, 10, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_no_row_is_lost_or_there_twice_and_a_kill_costs_at_most_one_batch(
    tmp_path: Path, count: int, kills: int
) -> None:
    source, log = tmp_path / "rows.csv", tmp_path / "log"
    search_rows.write_csv(source, count)
    done = search_rows.kill_often(tmp_path, source, log, random.Random(4), count, kills)
    assert done == kills
    assert search_rows.finish(tmp_path, source, log) == 0
    assert search_rows.check(tmp_path, log, count, kills) == []
