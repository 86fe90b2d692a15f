"""Speed of several files, measured in turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ModelLoadError
from convert.report import speed
from convert.report.speed import measure_speed


def test_every_file_gets_both_speeds_once_per_round_in_turns(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_LEAST_S", 0.0)
    turns: list[tuple[int, str]] = []
    rates = measure_speed(
        {"a": tiny_model, "b": tiny_model},
        threads=1,
        rounds=2,
        on_round=lambda number, name: turns.append((number, name)),
    )
    assert turns == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    for name in ("a", "b"):
        assert rates[name].keys() == {"prefill", "decode"}
        for rate in rates[name].values():
            assert len(rate.values) == 2
            assert all(value > 0 for value in rate.values)


def test_a_file_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    noise = tmp_path / "noise.gguf"
    noise.write_bytes(b"noise" * 100)
    with pytest.raises(ModelLoadError, match=r"noise\.gguf"):
        measure_speed({"noise": noise}, threads=1)
