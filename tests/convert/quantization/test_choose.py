"""`--for PROFILE`: which level, on which board, by what arithmetic."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agent.errors import MemoryBudgetError, RequestError
from agent.hardware.fit import OVERHEAD_BYTES
from agent.hardware.memory import MIB
from agent.hardware.profile import load_profiles
from convert.quantization.choose import (
    IMATRIX_LADDER,
    LADDER,
    Board,
    choose,
    find_board,
    probe_gguf,
    smallest_memory_mb,
)
from convert.quantization.quantize import check_plan, plan
from convert.quantization.recipe import Recipe, levels


@pytest.mark.parametrize(
    ("name", "memory_mb", "context_tokens", "kv_type"),
    [
        ("pi-zero-2w", None, 1024, "q8_0"),
        ("pi-zero-2w", 900, 2048, "q8_0"),
        ("pi-5", None, 4096, "q8_0"),
        ("pi-5", 8000, 16384, "q8_0"),
    ],
)
def test_a_board_has_what_its_row_of_the_profile_says(
    name: str, memory_mb: int | None, context_tokens: int, kv_type: str
) -> None:
    board = find_board(name, memory_mb)
    assert (board.step.context_tokens, board.step.kv_type) == (context_tokens, kv_type)
    memory = board.profile.memory
    usable = board.memory_mb * MIB
    assert board.budget_bytes == min(int(usable * memory.budget_fraction), usable - memory.reserve_bytes)


def test_the_smallest_board_of_each_profile_reaches_its_first_row_only() -> None:
    for profile in load_profiles():
        assert 0 < smallest_memory_mb(profile) < profile.llama.by_memory[1].at_least_mb


@pytest.mark.parametrize(
    ("name", "memory_mb", "says"),
    [
        ("pi-77", None, "no profile 'pi-77'.*pi-5"),
        ("cuda-x86-64", None, "needs --memory-mb"),
        ("pi-5", 1, "--memory-mb is 1"),
    ],
)
def test_boards_that_cannot_be(name: str, memory_mb: int | None, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        find_board(name, memory_mb)


def test_memory_of_a_graphics_card_has_no_reserve() -> None:
    board = find_board("cuda-x86-64", 8192)
    assert board.budget_bytes == int(8192 * MIB * board.profile.memory.budget_fraction)


def test_both_ladders_fall_and_need_an_imatrix_only_where_there_is_one(wide_model: Path, wide_imatrix: Path) -> None:
    assert set(LADDER) | set(IMATRIX_LADDER) <= set(levels())
    for ladder, imatrix in ((LADDER, None), (IMATRIX_LADDER, str(wide_imatrix))):
        plans = plan(wide_model, [Recipe(level=level, imatrix=imatrix) for level in ladder])
        sizes = [each.weights_bytes for each in plans]
        assert sorted(sizes, reverse=True) == sizes
        for each in plans:
            check_plan(each)


def with_budget(board: Board, budget_bytes: int) -> Board:
    return dataclasses.replace(board, budget_bytes=budget_bytes)


@pytest.mark.parametrize("level", ["Q8_0", "Q4_K_M"])
def test_the_best_level_that_fits_to_the_byte(wide_model: Path, level: str) -> None:
    board, recipe = find_board("pi-5", None), Recipe(level="Q4_K_M")
    report = probe_gguf(wide_model)
    (planned,) = plan(wide_model, [Recipe(level=level)])
    kv_bytes = -(-report.kv_bytes_per_1k_context * report.context_train * 34 // (1024 * 64))
    needed = planned.weights_bytes + kv_bytes + report.compute_bytes + OVERHEAD_BYTES
    fitting = choose(wide_model, recipe, with_budget(board, needed))
    assert (fitting.plan.recipe.level, fitting.total_bytes, fitting.kv_bytes) == (level, needed, kv_bytes)
    assert fitting.context_tokens == report.context_train  # less than the board would give
    assert f"pi-5 with 1700 MB: {level}, as " in fitting.sentence()
    below = choose(wide_model, recipe, with_budget(board, needed - 1))
    assert LADDER.index(below.plan.recipe.level) > LADDER.index(level)


def test_nothing_fits_and_the_error_has_the_arithmetic(wide_model: Path) -> None:
    board = with_budget(find_board("pi-5", None), 1000)
    with pytest.raises(MemoryBudgetError, match=r"at Q2_K it would take .* of weights \+ .* of KV cache") as caught:
        choose(wide_model, Recipe(level="Q4_K_M"), board)
    assert caught.value.hint == "With --memory-mb 3400 it would be Q8_0."
