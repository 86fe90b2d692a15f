"""Levels and reports made up of numbers, for tests of what is decided and shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.hardware.profile import load_profiles
from agent.store.manifest import MemoryNeed
from convert.quality.gates import TEXT_GATES, check
from convert.report.gguf import GENERATION
from convert.report.level import Level, Rate
from convert.report.recommend import boards_of, recommend
from convert.report.report import Machine, Report

MakeLevel = Callable[..., Level]


@pytest.fixture
def make_level() -> MakeLevel:
    def make(name: str, size_gb: float, kl: float, *, speed: float = 10.0, **quality: Any) -> Level:
        measured = {
            "kl_mean": kl,
            "kl_p99": 5 * kl,
            "perplexity_ratio": 1 + kl / 2,
            "top1_agreement": 1 - kl,
            **quality,
        }
        return Level(
            name=name,
            file_bytes=int(size_gb * 1e9),
            memory=MemoryNeed(weights=int(size_gb * 1e9), per_1k_context=30_000_000, compute=50_000_000),
            quality=check(measured, TEXT_GATES, accept=True),
            rates={"prefill": Rate((20 * speed, 22 * speed)), "decode": Rate((speed, 1.1 * speed))},
        )

    return make


@pytest.fixture
def levels(make_level: MakeLevel) -> tuple[Level, ...]:
    """About what a 1.5B model gives."""
    return (
        make_level("F16", 3.1, 0.0, speed=4),
        make_level("Q8_0", 1.65, 0.001, speed=7),
        make_level("Q6_K", 1.4, 0.004, speed=9),
        make_level("Q4_K_M", 0.99, 0.04, speed=12),
        make_level("Q2_K", 0.68, 0.5, speed=15),
    )


@pytest.fixture
def report(levels: tuple[Level, ...]) -> Report:
    profiles = [profile for profile in load_profiles() if profile.name in ("pi-5", "pi-zero-2w")]
    choices = tuple(
        recommend(board, levels, GENERATION, trained_tokens=32768) for each in profiles for board in boards_of(each)
    )
    return Report(
        model="assistant_1.5b",
        source="assistant_1.5b.gguf",
        subject=GENERATION,
        levels=levels,
        choices=choices,
        machine=Machine("A board", "A processor", 4),
        measured_on="novel.txt",
        trained_tokens=32768,
    )
