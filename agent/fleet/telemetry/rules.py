"""The alarms of this device, and how often and how finely it measures: the numbers, and where they are from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.fleet.telemetry.alarms import Rule
from agent.fleet.telemetry.deadband import IGNORED, Deadband

MIB: Final = 1024 * 1024


class HeatLimits(Protocol):
    """The part of a profile's `[thermal]` that alarms need."""

    @property
    def hard_limit_celsius(self) -> float: ...

    @property
    def hysteresis_celsius(self) -> float: ...


def alarm_rules(heat: HeatLimits) -> tuple[Rule, ...]:
    """Durations are chosen: short enough for somebody to act, long enough that a load of a few seconds is none."""
    return (
        Rule(
            name="too_hot",
            reading="temperature_celsius",
            severity="critical",
            raise_at=heat.hard_limit_celsius,
            clear_at=heat.hard_limit_celsius - heat.hysteresis_celsius,
            raise_s=30,
            clear_s=120,
            text="The processor is at {value:.0f} °C; from {limit:.0f} °C on it is too hot.",
        ),
        Rule(
            name="throttled",
            reading="throttled",
            severity="major",
            raise_at=1,
            clear_at=1,
            raise_s=30,
            clear_s=300,
            text="The board holds its clocks down: {detail}.",
        ),
        Rule(
            name="memory_low",
            reading="memory_available_share",
            severity="major",
            below=True,
            raise_at=0.05,  # the kernel reclaims hard before, and kills not far below
            clear_at=0.10,
            raise_s=60,
            clear_s=120,
            text="Only {value:.1%} of the memory is available.",
        ),
        Rule(
            name="disk_low",
            reading="disk_free_bytes",
            severity="major",
            below=True,
            raise_at=300 * MIB,
            clear_at=500 * MIB,
            raise_s=60,
            clear_s=60,
            text="Only {value:.3g} bytes are free where models and telemetry are kept.",
        ),
        Rule(
            name="worker_failing",
            reading="models_failing",
            severity="major",
            raise_at=1,
            clear_at=1,
            raise_s=0,
            clear_s=300,
            text="A model keeps failing: {detail}.",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How one type is sampled: looked at each `interval_s`, recorded when a value leaves its deadband, and at the
    latest `heartbeat_s` after it was recorded last."""

    interval_s: float
    heartbeat_s: float
    bands: Mapping[str, Deadband] = field(default_factory=dict)


MEASURED: Final[Mapping[str, Measured]] = {
    # Bands are about what these sensors flutter by on an idle board.
    "board": Measured(
        interval_s=60,
        heartbeat_s=900,
        bands={
            "temperature_celsius": Deadband(absolute=2),
            "cpu_percent": Deadband(absolute=10),
            "cpu_mhz": IGNORED,  # it jumps with each load; `throttled` says when it matters
            "memory_available_bytes": Deadband(absolute=16 * MIB, relative=0.05),
            "memory_pressure_percent": Deadband(absolute=1),
            "power_watts": Deadband(absolute=0.3, relative=0.1),
            "energy_joules": IGNORED,
            "disk_free_bytes": Deadband(absolute=64 * MIB, relative=0.02),
        },
    ),
    "engine": Measured(
        interval_s=60,
        heartbeat_s=3600,
        bands={"memory_available_bytes": IGNORED},
    ),
    "models": Measured(
        interval_s=60,
        heartbeat_s=3600,
        bands={"*.resident_bytes": Deadband(absolute=16 * MIB, relative=0.05)},
    ),
    "link": Measured(
        interval_s=300,
        heartbeat_s=3600,
        bands={
            "connected_s": IGNORED,
            "sent_bytes": IGNORED,
            "received_bytes": IGNORED,
            "sent_messages": IGNORED,
            "received_messages": IGNORED,
        },
    ),
    "governor": Measured(
        interval_s=60,
        heartbeat_s=3600,
        bands={"reason": IGNORED},  # it names the degrees; `cause` and `rung` say when it matters
    ),
    "telemetry": Measured(
        interval_s=300,
        heartbeat_s=3600,
        bands={
            "waiting_samples": Deadband(absolute=1000, relative=1.0),
            "disk_bytes": Deadband(absolute=MIB),
            "written_bytes_per_hour": Deadband(absolute=MIB, relative=0.5),
            "writes_per_hour": IGNORED,
            "dropped.*": Deadband(relative=0.25),
            "expired.*": Deadband(relative=0.25),
            "memory_samples": IGNORED,
        },
    ),
}
