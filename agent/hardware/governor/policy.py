"""The governor: how fast to work, given how hot the board is and what feeds it. Decisions only.

Each wish (heat, watts, joules per token, mode, battery, supply) names a rung of the ladder; the lowest one counts and
gives the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.hardware.governor.climber import Climber
from agent.hardware.governor.decision import Bounds, Cause, Decision, Mode, Readings
from agent.hardware.governor.ladder import Ladder, Rung
from agent.hardware.governor.trip import Trip
from agent.hardware.governor.tuner import Tuner

LOW_BATTERY_PERCENT: Final = 20.0
EMPTY_BATTERY_PERCENT: Final = 8.0
STALL_PERCENT: Final = 15.0
"""systemd-oomd kills from 60% over 30 s on; by then a Pi has been unusable for a while."""
_SMALLEST_BATCH_TOKENS: Final = 32


@dataclass(frozen=True)
class _Wish:
    rung: int
    cause: Cause
    reason: str


class Governor:
    """Call `decide` every second or two. Holds what it learned; a new mode or ladder needs a new one."""

    def __init__(self, ladder: Ladder, bounds: Bounds, mode: Mode = "balanced") -> None:
        """Raises `ValueError` where the hard limit is not above the soft one."""
        if not bounds.soft_celsius < bounds.hard_celsius:
            raise ValueError(f"soft limit {bounds.soft_celsius} is not below the hard one {bounds.hard_celsius}")
        self._ladder, self._bounds, self._mode = ladder, bounds, mode
        lowers_clock = ladder.lowest_clock > 0
        self.top_celsius = top = top_celsius(bounds, mode, lowers_clock=lowers_clock)
        leaves_to_board = mode in ("performance", "balanced") or (mode == "efficient" and not lowers_clock)
        low = top - bounds.hysteresis_celsius / (2 if leaves_to_board else 1)
        rungs = len(ladder.rungs)
        self._heat = Climber(
            rungs=rungs,
            low=low,
            high=top,
            urgent=max(top, bounds.hard_celsius - 1) if not leaves_to_board else bounds.hard_celsius - 0.5,
            clearly=2.0,
            ahead_s=8.0,
            ahead_from=low if leaves_to_board else None,
            settle_s=15.0 if leaves_to_board else 8.0,
            raise_s=60.0,
            retry_s=1200.0,
        )
        self._power = bounds.most_watts and Climber(
            rungs=rungs,
            low=bounds.most_watts * 0.85,
            high=bounds.most_watts,
            urgent=bounds.most_watts * 1.3,
            clearly=bounds.most_watts * 0.05,
            ahead_s=0.0,
            settle_s=10.0,
            raise_s=60.0,
            retry_s=1200.0,
        )
        self._tuner = Tuner(start=0, last=ladder.slowest_threads)
        self._trip = Trip()
        self._hot = False

    def decide(self, readings: Readings) -> Decision:
        wishes = [
            _Wish(0, "none", "Nothing holds it back: full speed."),
            self._by_heat(readings),
            self._by_power(readings),
            self._by_energy(readings),
            self._by_battery(readings),
            self._by_supply(readings),
        ]
        wish = max(wishes, key=lambda one: one.rung)
        admit, reason, cause = True, wish.reason, wish.cause
        if self._too_hot(readings):
            admit, cause = False, "heat"
            reason = f"{readings.celsius:.0f} °C, at the hard limit of {self._bounds.hard_celsius:g} °C: no new work."
        stalled = readings.memory_stall_percent
        thrashing = stalled is not None and stalled >= STALL_PERCENT
        if thrashing and admit:
            admit, cause = False, "memory"
            reason = f"All work waited for memory {stalled:.0f}% of the last minute: no new work until that passes."
        rung = self._ladder.rungs[wish.rung]
        return Decision(
            threads=rung.threads,
            threads_batch=rung.threads_batch,
            max_mhz=rung.max_mhz,
            pause_ratio=rung.pause_ratio,
            batch_tokens=_SMALLEST_BATCH_TOKENS if thrashing else self._batch_tokens(rung),
            partials_ratio=self._partials(wish.rung),
            admit=admit,
            rung=wish.rung,
            cause=cause,
            reason=reason if wish.rung == 0 or not admit else f"{reason}: {self._words(rung)}.",
        )

    def _by_heat(self, readings: Readings) -> _Wish:
        heat_bits = tuple(name for name in readings.throttled if name != "under-voltage")
        celsius = readings.celsius
        if celsius is None:
            return self._by_flags(heat_bits, readings)
        self._learn_trip(celsius, readings, throttled=bool(heat_bits))
        rung = self._heat.advance(celsius, readings.now_s, may_fail=readings.busy)
        return _Wish(rung, "heat", f"{celsius:.0f} °C, to be held below {self.top_celsius:g} °C")

    def _by_flags(self, heat_bits: tuple[str, ...], readings: Readings) -> _Wish:
        """Without a thermometer the flags are all there is: they stand for a value above or below the band. The board
        has slowed itself down already; a lower clock saves on top of that, fewer threads would only cost."""
        celsius = self.top_celsius if heat_bits else self.top_celsius - self._bounds.hysteresis_celsius - 1
        rung = self._heat.advance(celsius, readings.now_s, pressed=bool(heat_bits), may_fail=readings.busy)
        reason = f"The board held its clocks down ({', '.join(heat_bits) or 'before'})"
        return _Wish(min(rung, self._ladder.lowest_clock), "throttling", reason)

    def _learn_trip(self, celsius: float, readings: Readings, *, throttled: bool) -> None:
        """Where the board throttles far down, heat is held below that from then on; by the clock alone, since threads
        save less for what they cost than such throttling."""
        below = self._trip.advance(celsius, throttled=throttled, busy=readings.busy)
        if below is not None and below < self.top_celsius and self._ladder.lowest_clock > 0:
            self.top_celsius = below
            self._heat.hold_below(below, urgent=below + 1)

    def _by_power(self, readings: Readings) -> _Wish:
        if not isinstance(self._power, Climber):
            return _Wish(0, "power", "")
        if readings.watts is not None and readings.busy:
            self._power.advance(readings.watts, readings.now_s)
        watts = "no reading" if readings.watts is None else f"{readings.watts:.1f} W"
        return _Wish(self._power.rung, "power", f"{watts}, to be held below {self._bounds.most_watts:g} W")

    def _by_energy(self, readings: Readings) -> _Wish:
        """Mode and target: with a meter the best rung is looked for, without one the clock falls while that saves."""
        enough = self._bounds.most_joules_per_token
        if enough is None and self._mode not in ("efficient", "quiet"):
            return _Wish(0, "mode", "")
        spent = readings.joules_per_token if readings.busy else None
        if enough is not None and self._mode not in ("efficient", "quiet"):
            rung = self._tuner.advance(spent, readings.now_s, enough=enough)
            return _Wish(rung, "power", f"At most {enough:g} J per token are asked for")
        rung = self._tuner.advance(spent, readings.now_s, enough=None)
        if readings.watts is None:
            rung = self._ladder.efficient
        return _Wish(rung, "mode", f"Mode {self._mode}")

    def _by_battery(self, readings: Readings) -> _Wish:
        percent = readings.battery_percent
        if readings.on_mains is not False:
            return _Wish(0, "battery", "")
        if percent is not None and percent <= EMPTY_BATTERY_PERCENT:
            slow = min(self._ladder.slowest_threads + 2, len(self._ladder.rungs) - 1)
            return _Wish(slow, "battery", f"The battery is at {percent:.0f}%")
        if percent is not None and percent <= LOW_BATTERY_PERCENT:
            return _Wish(self._ladder.slowest_threads, "battery", f"The battery is at {percent:.0f}%")
        if self._mode == "performance":
            return _Wish(0, "battery", "")
        return _Wish(self._ladder.efficient, "battery", "On battery")

    def _by_supply(self, readings: Readings) -> _Wish:
        """A supply that sags resets the board under the next peak; half the threads draw less at once."""
        low = "under-voltage" in readings.throttled
        return _Wish(self._ladder.slowest_threads if low else 0, "supply", "The power supply gives too low a voltage")

    def _too_hot(self, readings: Readings) -> bool:
        """From the hard limit on, until it has fallen by the hysteresis."""
        if readings.celsius is not None:
            if readings.celsius >= self._bounds.hard_celsius:
                self._hot = True
            elif readings.celsius < self._bounds.hard_celsius - self._bounds.hysteresis_celsius:
                self._hot = False
        return self._hot and readings.celsius is not None

    def _batch_tokens(self, rung: Rung) -> int:
        """A prompt's step keeps its length in time: fewer tokens where they take longer."""
        share = rung.threads_batch / self._ladder.rungs[0].threads_batch
        return max(min(_SMALLEST_BATCH_TOKENS, self._bounds.batch_tokens), int(self._bounds.batch_tokens * share))

    def _partials(self, rung: int) -> float | None:
        """Partial transcripts are the first to go: they are computed again and again."""
        if rung > self._ladder.slowest_threads:
            return None
        slow = 2.0 if rung > self._ladder.lowest_clock else 1.0
        return slow * (2.0 if self._mode == "quiet" else 1.0)

    def _words(self, rung: Rung) -> str:
        full = self._ladder.rungs[0]
        parts = []
        if rung.max_mhz != full.max_mhz:
            parts.append(f"at most {rung.max_mhz} MHz")
        if rung.threads != full.threads:
            parts.append(f"{rung.threads} of {full.threads} threads")
        if rung.pause_ratio:
            parts.append(f"{rung.pause_ratio / (1 + rung.pause_ratio):.0%} of the time at rest")
        return ", ".join(parts)


def top_celsius(bounds: Bounds, mode: Mode, *, lowers_clock: bool) -> float:
    """Where heat is held. `performance` and `balanced` leave it to the board's own throttling, which lowers voltage
    too, up to just below the hard limit. `efficient` rests a hysteresis above the soft limit, where it may lower the
    clock; fewer threads and pauses would cost energy. `quiet` rests a hysteresis below it, where fans turn slowly."""
    most = bounds.hard_celsius - 1.0
    if mode == "quiet":
        return min(most, bounds.soft_celsius - bounds.hysteresis_celsius)
    if mode == "efficient" and lowers_clock:
        return min(most, bounds.soft_celsius + bounds.hysteresis_celsius)
    return most
