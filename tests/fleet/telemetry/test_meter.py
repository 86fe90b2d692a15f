"""Power in telemetry: what a meter says, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.errors import UnavailableError
from agent.fleet.telemetry.board import BoardSource
from agent.fleet.telemetry.meter import AGAIN_S, BoardMeter
from agent.hardware.power.choose import Choice, choose_meter
from agent.hardware.power.meter import PowerSample
from agent.hardware.sensors.power import PowerReading


@dataclass
class Scripted:
    """Says what it is told to: samples, or None for a meter that cannot be read."""

    says: list[PowerSample | None]
    source: str = "test meter"
    scope: str = "the processor"
    quick: bool = True

    def read(self, now_s: float) -> PowerSample:
        said = self.says.pop(0)
        if said is None:
            raise UnavailableError("it is asleep")
        return said


@dataclass
class Choices:
    """The choices, one after the other; how often it was asked."""

    left: list[Choice]
    asked: list[str] = field(default_factory=list)

    def __call__(self, wanted: str) -> Choice:
        self.asked.append(wanted)
        return self.left.pop(0)


NONE = Choice(meter=None, reason="Nothing measures power here.")


def test_what_the_meter_says_and_nothing_else() -> None:
    meter = Scripted(
        [
            PowerSample(at_s=0, joules=0.0),  # the first look at a counter: no watts yet
            PowerSample(at_s=60, watts=4.5, joules=270.0),
            None,
            PowerSample(at_s=180, watts=3.0),
        ]
    )
    board = BoardMeter("rapl", choose=Choices([Choice(meter=meter, reason="")]))
    assert board.scope is None
    readings = [board.read() for _ in range(4)]
    assert readings == [None, PowerReading(watts=4.5, energy_joules=270.0), None, PowerReading(watts=3.0)]
    assert board.scope == "the processor"


def test_where_nothing_measures_it_is_looked_for_again_after_a_while() -> None:
    now = [100.0]
    meter = Scripted([PowerSample(at_s=0, watts=2.0)])
    choices = Choices([NONE, Choice(meter=meter, reason="it is there now")])
    board = BoardMeter("pmic", choose=choices, clock=lambda: now[0])
    assert [board.read(), board.read()] == [None, None]
    now[0] += AGAIN_S
    assert board.read() == PowerReading(watts=2.0)
    assert choices.asked == ["pmic", "pmic"]


@pytest.mark.parametrize(
    "choose", [lambda wanted: choose_meter(wanted, Path("/nowhere")), lambda _: NONE], ids=["no files", "none"]
)
async def test_a_board_without_a_meter_says_nothing_of_power(tmp_path: Path, choose: Callable[[str], Choice]) -> None:
    values = await BoardSource(tmp_path, meter=BoardMeter("rapl", choose=choose)).read()
    assert [values[name] for name in ("power_watts", "energy_joules", "power_of")] == [None, None, None]
