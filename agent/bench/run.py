"""What every measurement works with: the server, how often to repeat, when to rest, where results go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from agent.bench.energy import Energy
from agent.bench.http import Http
from agent.bench.report import Report, Row, rounded
from agent.bench.server import Server
from agent.hardware.sensors.temperature import read_temperature

T = TypeVar("T")

COOLED_CELSIUS: Final = 3.0
"""A board is cool again this near to where it began: two thermal steps of the firmwares that we know."""

_LONGEST_COOL_DOWN_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for. `only` is empty for everything; `sustained_min` 0 for no long run; `rate_per_s` 0 for half
    of what the server can do."""

    model: str | None = None
    quick: bool = False
    only: frozenset[str] = frozenset()
    seed: int = 1
    rate_per_s: float = 0.0
    audio: Path | None = None
    sustained_min: float = 0.0

    def wants(self, measure: str) -> bool:
        return not self.only or measure in self.only


@dataclass(kw_only=True)
class Run:
    """`show` is told of each row as it is there, `say` of anything else worth a line."""

    options: Options
    http: Http
    server: Server
    report: Report
    energy: Energy
    show: Callable[[Row], None]
    say: Callable[[str], None]
    root: Path = Path("/")
    _began_celsius: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._began_celsius = self.celsius()

    def times(self, full: int, quick: int) -> int:
        return quick if self.options.quick else full

    def add(self, row: Row) -> None:
        """A row without values is nothing, and left out."""
        if row.values:
            row.values = [rounded(value) for value in row.values]
            row.counts = {name: rounded(count) for name, count in row.counts.items()}
            self.report.rows.append(row)
            self.show(row)

    def problem(self, text: str) -> None:
        """Something is missing from the report, and why."""
        self.report.problems.append(text)
        self.say(text)

    def celsius(self) -> float | None:
        """Of the processor, where the server is on this machine and it has a thermometer."""
        found = read_temperature(self.root) if self.http.local else None
        return found.celsius if found else None

    async def repeat(self, once: Callable[[], Awaitable[T]], *, full: int, quick: int, warm_up: bool = True) -> list[T]:
        """As often as that, but on a slow board no longer than a minute for more than two; and once before, which is
        not counted: caches, clocks and threads are awake then."""
        limit_s = 15.0 if self.options.quick else 60.0
        if warm_up:
            await once()
        began_s = time.monotonic()
        found: list[T] = []
        for number in range(self.times(full, quick)):
            if number >= 2 and time.monotonic() - began_s > limit_s:
                break
            if number:
                await asyncio.sleep(0.05 if self.options.quick else 0.25)
            found.append(await once())
        return found

    async def cool_down(self) -> None:
        """A pause; where there is a thermometer, until the board is about as cool as it was at the start."""
        await asyncio.sleep(0.1 if self.options.quick else 1.0)
        began, give_up_s = self._began_celsius, time.monotonic() + _LONGEST_COOL_DOWN_S
        while began is not None and not self.options.quick and time.monotonic() < give_up_s:
            celsius = self.celsius()
            if celsius is None or celsius <= began + COOLED_CELSIUS:
                return
            await asyncio.sleep(1.0)


async def together(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order. The first error ends all of them, and is raised as it is."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
