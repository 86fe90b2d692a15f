"""Which level for which board, as a table of boards and measured levels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.hardware.profile import load_profiles
from convert.quantization.choose import Board, find_board
from convert.report.gguf import GENERATION
from convert.report.level import Level, Rate
from convert.report.recommend import boards_of, needed_bytes, recommend, sold_as
from tests.convert.report.conftest import MakeLevel

TRAINED = 32_768


def board(budget_gb: float, context_tokens: int = 4096) -> Board:
    """A Pi 5 with so much for models."""
    found = find_board("pi-5", 4000)
    step = replace(found.step, context_tokens=context_tokens)
    return replace(found, budget_bytes=int(budget_gb * 1e9), step=step)


@pytest.mark.parametrize(
    ("budget_gb", "level", "why"),
    [
        (8.0, "Q6_K", "the smallest that loses nothing to speak of"),
        (1.6, "Q6_K", "it fits, and loses nothing to speak of"),
        (1.35, "Q4_K_M", "the best that fits: Q6_K would need"),
        (1.0, None, "Q4_K_M alone needs"),
    ],
)
def test_the_best_that_fits_is_taken_and_of_those_without_loss_the_smallest(
    levels: tuple[Level, ...], budget_gb: float, level: str | None, why: str
) -> None:
    choice = recommend(board(budget_gb), levels, GENERATION, trained_tokens=TRAINED)
    assert (choice.level.name if choice.level else None) == level
    assert choice.why.startswith(why)
    if choice.level is not None:
        assert choice.needed_bytes == needed_bytes(choice.level, choice.board, 4096, GENERATION) <= budget_gb * 1e9


def test_a_level_below_its_gates_is_recommended_for_nothing(levels: tuple[Level, ...]) -> None:
    q2 = levels[-1]
    assert not q2.passed
    assert recommend(board(0.9), levels, GENERATION, trained_tokens=TRAINED).level is None
    nothing = recommend(board(8), [q2], GENERATION, trained_tokens=TRAINED)
    assert (nothing.level, nothing.why) == (None, "no level reached its quality gates")


def test_the_best_of_all_is_taken_where_every_level_loses_something(make_level: MakeLevel) -> None:
    choice = recommend(
        board(8), [make_level("Q4_0", 1.0, 0.07), make_level("Q4_K_M", 1.1, 0.03)], GENERATION, trained_tokens=TRAINED
    )
    assert choice.level is not None
    assert (choice.level.name, choice.why) == ("Q4_K_M", "the best of all, and it fits")


def test_the_context_is_halved_only_where_no_level_fits_otherwise(make_level: MakeLevel) -> None:
    only = [make_level("Q6_K", 1.0, 0.005)]
    whole = recommend(board(1.5, 8192), only, GENERATION, trained_tokens=TRAINED)
    halved = recommend(board(1.2, 8192), only, GENERATION, trained_tokens=TRAINED)
    assert (whole.context_tokens, halved.context_tokens) == (8192, 4096)
    assert "no level fits with a context of 8,192 tokens" in halved.why
    # 2,048 is the least; a board whose own context is shorter keeps it
    assert recommend(board(1.12, 1024), only, GENERATION, trained_tokens=TRAINED).level is None
    assert recommend(board(1.5, 1024), only, GENERATION, trained_tokens=TRAINED).context_tokens == 1024


def test_the_context_is_never_longer_than_the_model_was_trained_on(levels: tuple[Level, ...]) -> None:
    assert recommend(board(8, 16384), levels, GENERATION, trained_tokens=512).context_tokens == 512


def test_speed_is_estimated_from_bandwidth_where_it_is_known(levels: tuple[Level, ...]) -> None:
    choice = recommend(board(8), levels, GENERATION, trained_tokens=TRAINED)
    assert choice.tokens_per_s == pytest.approx(10.0 / 1.4)  # pi-5: 10 GB/s
    zero = recommend(find_board("pi-zero-2w", 425), levels, GENERATION, trained_tokens=TRAINED)
    assert zero.tokens_per_s is None


def test_every_profile_gives_one_board_per_size_of_memory_and_budgets_rise() -> None:
    for profile in load_profiles():
        boards = boards_of(profile)
        budgets = [each.budget_bytes for each in boards]
        assert len(boards) == len(profile.llama.by_memory)
        assert budgets == sorted(budgets)
        assert budgets[0] > 0
        assert [each.step for each in boards] == list(profile.llama.by_memory)


@pytest.mark.parametrize(
    ("memory_mb", "label"), [(350, "512 MB"), (850, "1 GB"), (1700, "2 GB"), (3400, "4 GB"), (56000, "64 GB")]
)
def test_boards_are_called_by_the_memory_they_are_sold_with(memory_mb: int, label: str) -> None:
    assert sold_as(memory_mb) == label


def test_speeds_are_compared_round_by_round() -> None:
    """A machine that is twice as busy in one round slows both alike: the ratio does not move."""
    first, other = Rate((10.0, 5.0, 10.0)), Rate((20.0, 10.0, 21.0))
    assert other.ratio_to(first) == 2.0
    assert other.median == 20.0
