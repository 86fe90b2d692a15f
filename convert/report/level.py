"""What a report knows of one level of one model, and how the numbers of a task are shown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.store.manifest import MemoryNeed


@dataclass(frozen=True)
class Rate:
    """One speed, measured once per round: `values[i]` is that of round `i`, in the unit of its `Speed`."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def ratio_to(self, other: Rate) -> float:
        """Median over rounds of this divided by `other` in the same round: what else the machine did cancels out."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.values, other.values, strict=True))


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level of a model. `quality` is the block of `gates.check`; `rates` are by the key of a `Speed`."""

    name: str
    file_bytes: int
    memory: MemoryNeed
    quality: Mapping[str, Any]
    rates: Mapping[str, Rate] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return bool(self.quality.get("passed"))


@dataclass(frozen=True)
class Column:
    """A number of the quality: its key there, its heading in a table, and a format such as "{:.1%}"."""

    key: str
    heading: str
    form: str

    def show(self, quality: Mapping[str, Any]) -> str:
        value = quality.get(self.key)
        return self.form.format(value) if isinstance(value, int | float) and not isinstance(value, bool) else "-"


@dataclass(frozen=True)
class Speed:
    """A speed: its key in `Level.rates`, what it is called, its unit."""

    key: str
    heading: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """How models of one task are compared.

    `loss` is the number that ranks the levels, `ideal` what it is without any loss, and `limit` its gate. Not further
    than `negligible` from the ideal counts as no loss, as the sentence `why_negligible` says. `axis` labels the
    distance from the ideal in the picture. `method` is paragraphs of Markdown: how quality was
    measured; `speed_method` says in a clause what was timed. Levels in
    `for_cuda` are not recommended to boards without CUDA, nor those in `for_cpu` to boards with it.
    """

    task: Literal["generate", "embed", "transcribe"]
    loss: Column
    ideal: float
    limit: float
    axis: str
    negligible: float
    why_negligible: str
    columns: tuple[Column, ...]
    speeds: tuple[Speed, ...]
    method: tuple[str, ...]
    speed_method: str
    for_cuda: frozenset[str] = frozenset()
    for_cpu: frozenset[str] = frozenset()

    def lost(self, level: Level) -> float:
        """How far the level is from the ideal, at least 0; infinite where that was not measured."""
        value = level.quality.get(self.loss.key)
        if not isinstance(value, int | float):
            return float("inf")
        return max(0.0, value - self.ideal if self.limit >= self.ideal else self.ideal - value)
