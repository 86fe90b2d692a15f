"""What all models of a runtime share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.runtime.budget import MemoryBudget
from agent.runtime.cell import Cells
from agent.runtime.queue import AdmissionQueue
from agent.runtime.stream import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """`command` and `environment` are the workers'; `cells` keeps them apart, where the operating system can. `clock`
    gives seconds and never goes back."""

    queue: AdmissionQueue[Stream]
    budget: MemoryBudget
    command: tuple[str, ...]
    environment: Mapping[str, str] | None
    cells: Cells | None
    clock: Callable[[], float]
