"""Which measured level suits which board, and why. Decisions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.hardware.fit import OVERHEAD_BYTES
from agent.hardware.profile import Profile
from agent.terminal import size
from convert.quantization.choose import Board, find_board, smallest_memory_mb
from convert.report.level import Level, Subject

SMALLEST_CONTEXT_TOKENS: Final = 2048
"""The runtime halves the context of what does not fit, but not below this (agent/plan.py)."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The level for a board, None where none fits, and why: a clause that goes on after the level's name.

    `needed_bytes` is with a KV cache of `context_tokens`; `tokens_per_s` an estimate from the board's memory bandwidth,
    None where that is not known.
    """

    board: Board
    level: Level | None
    context_tokens: int
    needed_bytes: int
    why: str
    tokens_per_s: float | None

    @property
    def sold_as(self) -> str:
        return sold_as(self.board.memory_mb)


def boards_of(profile: Profile) -> list[Board]:
    """One board per row of the profile's `[[llama.by_memory]]`, the smallest first.

    A row says from how much memory on it counts: that is taken as the memory of the board, which is a little less than
    what it is sold with, as the system takes its part.
    """
    return [find_board(profile.name, row.at_least_mb or smallest_memory_mb(profile)) for row in profile.llama.by_memory]


def sold_as(memory_mb: int) -> str:
    """The size of memory that such a board is sold with: the next power of two."""
    nominal_mb = 1 << (memory_mb - 1).bit_length()
    return f"{nominal_mb // 1024} GB" if nominal_mb >= 1024 else f"{nominal_mb} MB"


def recommend(board: Board, levels: Sequence[Level], subject: Subject, *, trained_tokens: int) -> Choice:
    """The level that loses least of those that fit the board at its context; of levels that lose nothing to speak of,
    the smallest, which is also the fastest where memory bounds the speed. Levels below their gates are left out.

    Where none fits, the context is halved, as the runtime does it. `trained_tokens` is the longest context of the
    model; 0 where it has none.
    """
    passing = [level for level in levels if level.passed]
    unsuitable = subject.for_cpu if "cuda" in board.profile.onnx.providers else subject.for_cuda
    usable = [level for level in passing if level.name not in unsuitable] or passing
    if not usable:
        return _nothing(board, "no level reached its quality gates")
    wanted = context = min(board.step.context_tokens, trained_tokens)
    while not (
        fitting := [level for level in usable if needed_bytes(level, board, context, subject) <= board.budget_bytes]
    ):
        if context // 2 < SMALLEST_CONTEXT_TOKENS:
            least = min(usable, key=lambda level: level.memory.weights)
            needs = needed_bytes(least, board, context, subject)
            return _nothing(board, f"{least.name} alone needs {size(needs)} of {size(board.budget_bytes)}")
        context //= 2
    limit = max(subject.negligible, min(subject.lost(level) for level in fitting))
    best = min(
        (level for level in fitting if subject.lost(level) <= limit),
        key=lambda level: (level.file_bytes, subject.lost(level)),
    )
    rate = board.profile.recommend.decode_gb_per_s if subject.task == "generate" else 0
    return Choice(
        board=board,
        level=best,
        context_tokens=context,
        needed_bytes=needed_bytes(best, board, context, subject),
        why=_why(best, usable, fitting, board, context, subject) + _shorter(context, wanted),
        tokens_per_s=rate * 1e9 / best.memory.weights if rate and best.memory.weights else None,
    )


def needed_bytes(level: Level, board: Board, context_tokens: int, subject: Subject) -> int:
    """Weights, KV cache of `context_tokens`, scratch buffers, and the worker process itself.

    The cache is of the board's type for generation; an ONNX graph fixes its own, and says so in bytes.
    """
    kv_type = board.step.kv_type if subject.task == "generate" else "f16"
    return level.memory.at(context_tokens, kv_type) + OVERHEAD_BYTES


def _why(
    best: Level, usable: Sequence[Level], fitting: Sequence[Level], board: Board, context: int, subject: Subject
) -> str:
    if subject.lost(best) <= subject.negligible:
        if any(level.file_bytes > best.file_bytes for level in fitting):
            return "the smallest that loses nothing to speak of"
        return "it fits, and loses nothing to speak of"
    better = [level for level in usable if subject.lost(level) < subject.lost(best)]
    if not better:
        return "the best of all, and it fits"
    next_best = max(better, key=subject.lost)
    return f"the best that fits: {next_best.name} would need {size(needed_bytes(next_best, board, context, subject))}"


def _shorter(context: int, wanted: int) -> str:
    return "" if context == wanted else f"; no level fits with a context of {wanted:,} tokens"


def _nothing(board: Board, why: str) -> Choice:
    return Choice(board=board, level=None, context_tokens=0, needed_bytes=0, why=why, tokens_per_s=None)
