from __future__ import annotations

import asyncio

import pytest

from agent.bench.endurance import by_minute
from agent.bench.energy import BoardEnergy, NoEnergy, find_energy
from agent.bench.http import Http
from agent.bench.report import Point
from agent.errors import UnavailableError
from agent.hardware.power.choose import Choice
from agent.hardware.power.meter import PowerSample


class Counter:
    """A meter that counts 10 J more at each reading, or cannot be read after `fails_after`."""

    source, scope, quick = "a counter", "the board", True

    def __init__(self, fails_after: int = 1000) -> None:
        self.readings = 0
        self._fails_after = fails_after

    def read(self, now_s: float) -> PowerSample:
        self.readings += 1
        if self.readings > self._fails_after:
            raise UnavailableError("It is gone.")
        return PowerSample(at_s=now_s, joules=10.0 * self.readings)


async def _measured(meter: Counter) -> float | None:
    energy = BoardEnergy(meter)
    await energy.begin()
    await asyncio.sleep(0.5)  # longer than a sample is taken for one of now
    return await energy.end()


async def test_the_joules_between_begin_and_end() -> None:
    joules = await _measured(Counter())
    assert joules is not None
    # One more reading but for the moment before it began, and what the moment after it is estimated to have cost.
    assert 5.0 < joules < 20.0


async def test_a_meter_that_stops_gives_no_figure() -> None:
    assert await _measured(Counter(fails_after=0)) is None


@pytest.mark.parametrize(
    ("status", "choose", "source", "reason"),
    [
        ({}, None, "", "on another machine"),
        ({}, lambda: Choice(meter=None, reason="Nothing measures power here."), "", "Nothing measures"),
        ({}, lambda: Choice(meter=Counter(), reason="x"), "a counter", ""),
        ({"energy": {"source": "PMIC", "scope": "the board", "failure": ""}}, None, "the server's meter: PMIC", ""),
        ({"energy": {"source": "PMIC", "scope": "", "failure": "It is gone."}}, None, "", "It is gone."),
        ({"energy": {"source": None, "reason": "The profile has none."}}, None, "", "The profile has none."),
    ],
)
async def test_the_meter_is_the_server_s_else_this_board_s_else_none(
    status: object, choose: object, source: str, reason: str
) -> None:
    found = await find_energy(Http("http://127.0.0.1:1"), status, choose)  # type: ignore[arg-type]
    assert (found.power.source, reason in found.power.reason) == (source, True)


async def test_without_a_meter_nothing_is_made_up() -> None:
    energy = NoEnergy("none")
    await energy.begin()
    assert await energy.end() is None


def test_a_long_run_is_summed_up_by_minutes() -> None:
    points = [Point(at_s=at, tokens_per_s=speed) for at, speed in ((0, 10), (30, 12), (59, 11), (61, 8), (190, 7))]
    assert by_minute(points) == [11, 8, 7]
    assert by_minute([]) == []
