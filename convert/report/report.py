"""A finished comparison of the levels of one model, and its form as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from convert.report.level import Level, Subject
from convert.report.recommend import Choice

MEMORY_CONTEXT_TOKENS = 4096
"""The context that memory is shown at in the table of levels, or what the model was trained on where that is less."""


@dataclass(frozen=True)
class Machine:
    """Where the speed was measured."""

    name: str
    cpu: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """`model` is what the model is called, `source` the file or folder it came from, `text` what quality was measured
    on, in words. `trained_tokens` is the longest context of the model, 0 where it has none."""

    model: str
    source: str
    subject: Subject
    levels: tuple[Level, ...]
    choices: tuple[Choice, ...]
    machine: Machine
    measured_on: str
    trained_tokens: int

    @property
    def first(self) -> Level:
        """What sizes and speeds are compared with."""
        return self.levels[0]

    @property
    def shown_context_tokens(self) -> int:
        return min(MEMORY_CONTEXT_TOKENS, self.trained_tokens)


@dataclass(frozen=True)
class Row:
    """Neighboring boards of one profile that get the same level."""

    choices: tuple[Choice, ...]
    last: bool

    @property
    def memory(self) -> str:
        smallest, largest = self.choices[0].sold_as, self.choices[-1].sold_as
        if self.last and len(self.choices) > 1:
            return f"{smallest} and more"
        return smallest if smallest == largest else f"{smallest} to {largest}"


def rows_of(choices: Sequence[Choice]) -> Iterator[Row]:
    """The choices, neighbors of the same profile and level joined; a context that had to shrink stands alone."""
    group: list[Choice] = []
    for choice in choices:
        if group and _joins(group[-1], choice):
            group.append(choice)
            continue
        if group:
            yield Row(tuple(group), last=group[-1].board.profile.name != choice.board.profile.name)
        group = [choice]
    if group:
        yield Row(tuple(group), last=True)


def _joins(one: Choice, other: Choice) -> bool:
    same_level = (one.level.name if one.level else None) == (other.level.name if other.level else None)
    return one.board.profile.name == other.board.profile.name and same_level and one.why == other.why


def as_json(report: Report) -> dict[str, Any]:
    """The whole report, for programs: sizes in bytes, speeds as the list of rounds and their median."""
    subject = report.subject
    return {
        "model": report.model,
        "source": report.source,
        "task": subject.task,
        "measured_on": report.measured_on,
        "loss": subject.loss.key,
        "negligible_loss": subject.negligible,
        "machine": {"name": report.machine.name, "cpu": report.machine.cpu, "threads": report.machine.threads},
        "levels": [_level(level, report) for level in report.levels],
        "recommendations": [_choice(choice) for choice in report.choices],
    }


def _level(level: Level, report: Report) -> dict[str, Any]:
    return {
        "level": level.name,
        "file_bytes": level.file_bytes,
        "memory_bytes": {
            "weights": level.memory.weights,
            "per_1k_context": level.memory.per_1k_context,
            "compute": level.memory.compute,
        },
        "quality": dict(level.quality),
        "speed": {
            speed.key: {
                "unit": speed.unit,
                "median": _significant(level.rates[speed.key].median),
                "rounds": [_significant(value) for value in level.rates[speed.key].values],
                "ratio_to_first": round(level.rates[speed.key].ratio_to(report.first.rates[speed.key]), 4),
            }
            for speed in report.subject.speeds
        },
    }


def _choice(choice: Choice) -> dict[str, Any]:
    board = choice.board
    return {
        "profile": board.profile.name,
        "memory_mb": board.memory_mb,
        "sold_as": choice.sold_as,
        "budget_bytes": board.budget_bytes,
        "kv_type": board.step.kv_type,
        "level": choice.level.name if choice.level else None,
        "context_tokens": choice.context_tokens,
        "needed_bytes": choice.needed_bytes,
        "tokens_per_s_estimated": _significant(choice.tokens_per_s) if choice.tokens_per_s else None,
        "why": choice.why,
    }


def _significant(value: float) -> float:
    return float(f"{value:.4g}")
