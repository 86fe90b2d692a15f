"""The governor on a simulated Raspberry Pi 5 without a fan that generates text for half an hour.

`python -m benchmarks.governor_rows` takes some seconds and needs no hardware: `benchmarks/governor_board.py` says what
is simulated and where each number comes from. Three ways of running are compared: the firmware's throttling alone, the
governor with threads and pauses, and the governor that may limit the clock too.

The bar of 1.15 is not met and cannot be: the row "the most that any governor could gain" is what the board would do if
it did not throttle at all, over what it does while it throttles. Throttling by clock costs a decoder little, since it
waits for memory. It is met where it can be: see the rows about a board that drops its clock abruptly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

from agent.hardware.governor.decision import Bounds, Decision, Readings
from agent.hardware.governor.ladder import build
from agent.hardware.governor.policy import Governor
from benchmarks.governor_board import FULL_MHZ, STEP_S, Board, Physics, fit
from benchmarks.report import Row, run_rows

MINUTES = 30
THREADS = 4
CLOCKS_MHZ = tuple(range(1500, 2401, 100))
BOUNDS = Bounds(soft_celsius=75.0, hard_celsius=82.0, hysteresis_celsius=5.0, batch_tokens=512)
"""profiles/pi-5.toml."""
MEASURED_CELSIUS = (40.0, 82.3, 84.5, 86.2)
LOOK_S = 2.0
SETTLED_S = 600.0

VARIANTS: dict[str, Physics] = {
    "room at 20 °C": Physics(ambient_celsius=20.0),
    "room at 30 °C": Physics(ambient_celsius=30.0),
    "room at 35 °C": Physics(ambient_celsius=35.0),
    "cores compute a quarter slower": Physics(core_gb_per_s=1.35),
    "cores compute two thirds faster": Physics(core_gb_per_s=3.0),
    "a case: board cools a third worse": Physics(board_celsius_per_watt=9.0),
    "abrupt throttling to 1500 MHz": Physics(throttle="abrupt"),
    "abrupt throttling to 600 MHz": Physics(throttle="abrupt", floor_mhz=600.0),
}


@dataclass
class Run:
    """`thread_changes` are the times at which the number of threads changed."""

    tokens_per_s: float
    most_celsius: float
    joules_per_token: float
    thread_changes: list[float] = field(default_factory=list)

    def changes_per_hour(self, seconds: float) -> float:
        """After it has settled."""
        return sum(at_s > SETTLED_S for at_s in self.thread_changes) * 3600 / (seconds - SETTLED_S)


def ungoverned(physics: Physics, seconds: float = MINUTES * 60) -> Run:
    return _run(physics, seconds, None)


def governed(physics: Physics, *, clock: bool, seconds: float = MINUTES * 60) -> Run:
    """The thermometer has half a degree of resolution, as the Pi's has."""
    clocks = [mhz for mhz in (*range(600, 1500, 100), *CLOCKS_MHZ) if mhz >= physics.floor_mhz] if clock else []
    governor = Governor(build(THREADS, THREADS, clocks), BOUNDS)

    def decide(board: Board) -> Decision:
        held_down = board.mhz < board.cap_mhz
        return governor.decide(
            Readings(
                now_s=board.now_s,
                busy=True,
                celsius=round(board.celsius * 2) / 2,
                throttled=("soft temperature limit",) if held_down else (),
            )
        )

    return _run(physics, seconds, decide)


def unthrottled(physics: Physics) -> float:
    """Tokens per second with all threads at the full clock, as if heat were nothing."""
    return physics.gb_per_s(THREADS, FULL_MHZ) / physics.model_gb


def _run(physics: Physics, seconds: float, decide: Callable[[Board], Decision] | None) -> Run:
    board = Board(physics)
    decision: Decision | None = None
    most, changes = 0.0, list[float]()
    for step in range(int(seconds / STEP_S)):
        if decide is not None and step % int(LOOK_S / STEP_S) == 0:
            before, decision = decision, decide(board)
            board.cap_mhz = float(decision.max_mhz or FULL_MHZ)
            if before is not None and before.threads != decision.threads:
                changes.append(board.now_s)
        board.decode(
            THREADS if decision is None else decision.threads,
            pause_ratio=0.0 if decision is None else decision.pause_ratio,
        )
        most = max(most, board.celsius)
    return Run(board.tokens / seconds, most, board.joules / board.tokens, changes)


def simulation() -> Iterator[Row]:
    seen = fit(Physics())
    worst = max(abs(one - other) for one, other in zip(seen, MEASURED_CELSIUS, strict=True))
    yield Row(
        what="simulated heat against a real Pi 5, stress -c 4",
        bar="within 1.5 °C of 40.0 82.3 84.5 86.2",
        measured=" ".join(f"{celsius:.1f}" for celsius in seen),
        passed=worst <= 1.5,
        numbers={"celsius": seen, "measured_celsius": MEASURED_CELSIUS},
    )


def pi_5() -> Iterator[Row]:
    physics = Physics()
    alone, free = ungoverned(physics), unthrottled(physics)
    runs = {"threads": governed(physics, clock=False), "clock": governed(physics, clock=True)}
    yield Row(
        what="the firmware alone",
        bar="for comparison",
        measured=(
            f"{alone.tokens_per_s:.1f} tokens/s, up to {alone.most_celsius:.1f} °C,"
            f" {alone.joules_per_token:.3f} J/token"
        ),
        passed=True,
        numbers=vars(alone),
    )
    yield Row(
        what="the most that any governor could gain",
        bar="for comparison",
        measured=f"{free / alone.tokens_per_s:.2f}x: {free:.1f} tokens/s if it never throttled",
        passed=True,
    )
    for name, run in runs.items():
        ratio = run.tokens_per_s / alone.tokens_per_s
        yield Row(
            what=f"sustained speed with the governor, {name}",
            bar=">= 1.15x without",
            measured=f"{ratio:.2f}x: {run.tokens_per_s:.1f} tokens/s, {run.joules_per_token:.3f} J/token",
            passed=ratio >= 1.15,
            numbers={"ratio": ratio, **vars(run)},
        )
        yield Row(
            what=f"temperature, {name}",
            bar=f"never above {BOUNDS.hard_celsius:g} °C",
            measured=f"{run.most_celsius:.1f} °C at most",
            passed=run.most_celsius <= BOUNDS.hard_celsius,
        )
        long = governed(physics, clock=name == "clock", seconds=4 * 3600)
        yield Row(
            what=f"thread changes once settled, {name}",
            bar="<= 6 an hour",
            measured=f"{long.changes_per_hour(4 * 3600):.1f} an hour over 4 hours",
            passed=long.changes_per_hour(4 * 3600) <= 6,
        )


def sensitivity() -> Iterator[Row]:
    for name, physics in VARIANTS.items():
        alone = ungoverned(physics)
        both = [governed(physics, clock=clock) for clock in (False, True)]
        threads, clock = (run.tokens_per_s / alone.tokens_per_s for run in both)
        celsius = [run.most_celsius for run in both]
        calm = max(governed(physics, clock=c, seconds=7200).changes_per_hour(7200) for c in (False, True))
        yield Row(
            what=name,
            bar="below the hard limit, calm",
            measured=(
                f"threads {threads:.2f}x, clock {clock:.2f}x of {alone.tokens_per_s:.1f} tokens/s; "
                f"most possible {unthrottled(physics) / alone.tokens_per_s:.2f}x; "
                f"{max(celsius):.1f} instead of {alone.most_celsius:.1f} °C; {calm:.1f} changes an hour"
            ),
            passed=max(celsius) <= BOUNDS.hard_celsius and calm <= 6,
            numbers={"threads_ratio": threads, "clock_ratio": clock, "celsius": celsius},
        )


def main() -> int:
    groups = {"simulation": simulation, "pi 5": pi_5, "sensitivity": sensitivity}
    return 0 if run_rows(groups, {"minutes": MINUTES, "bounds": asdict(BOUNDS)}) else 1


if __name__ == "__main__":
    sys.exit(main())
