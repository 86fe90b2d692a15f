"""The governor as the daemon keeps it: what the board's sensors say becomes threads, pauses and what may begin."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from agent.energy_side import Energy
from agent.errors import EdgeAgentError
from agent.hardware.command import Runner
from agent.hardware.governor.clock import ClockLimit
from agent.hardware.governor.decision import Bounds, Decision, Mode
from agent.hardware.governor.found_clock import FoundClock
from agent.hardware.governor.ladder import build
from agent.hardware.governor.loop import PERIOD_S, GovernorLoop
from agent.hardware.governor.policy import Governor
from agent.hardware.governor.watch import Watch, Work
from agent.hardware.power.supply import batteries
from agent.hardware.sensors.boot import read_boot_id
from agent.hardware.sensors.temperature import read_temperature
from agent.runtime.throttle import FULL_SPEED, Throttle
from agent.settings import Settings
from agent.speech.cadence import Cadence

AGAIN_S: Final = 60.0
"""After a mistake of ours the models run at full speed for so long."""
DEFAULT: Final[Mode] = "balanced"
CLOCK: Final = "clock.json"
"""In the state folder, while the clock is lowered."""
BLIND: Final = (
    "There is no thermometer, no battery and no power meter here to go by. governor_mode turns it on all the same."
)

_log = logging.getLogger("agent.governor")


class Workers(Protocol):
    """The part of `Runtime` that is governed."""

    def throttle(self, throttle: Throttle) -> None: ...

    def work(self) -> tuple[int, int]:
        """Requests that run, and all tokens that were generated so far. May be called from any thread."""
        ...


class Governing:
    """`run` once, in a task. `bounds` are the profile's, without targets: those are in the settings."""

    def __init__(
        self,
        workers: Workers,
        energy: Energy,
        cadence: Cadence,
        settings: Settings,
        *,
        bounds: Bounds,
        threads: int,
        threads_batch: int,
        root: Path = Path("/"),
        run: Runner | None = None,
        period_s: float = PERIOD_S,
    ) -> None:
        self._workers, self._energy, self._cadence, self._settings = workers, energy, cadence, settings
        self._bounds, self._threads = bounds, (threads, threads_batch)
        self._root, self._run, self._period_s = root, run, period_s
        self._changed = asyncio.Event()
        self._loop: GovernorLoop | None = None
        self._mode: Mode | None = None
        self._reason = "The board's sensors are being looked for."
        self._changes = 0

    def apply(self, settings: Settings) -> None:
        """Other settings; what they change counts at once."""
        if _wishes(settings) != _wishes(self._settings):
            self._settings = settings
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled; then all is as it was found; and at the beginning, after one that was killed."""
        await asyncio.to_thread(self._clock_limit)
        await self._energy.chosen.wait()
        while True:
            self._changed.clear()
            mode = self._settings.governor_mode
            if mode is None:
                mode = DEFAULT if await asyncio.to_thread(self._sees) else "off"
                self._reason = BLIND
            else:
                self._reason = "Switched off by governor_mode."
            if mode == "off":
                _log.info("governor: off. %s", self._reason)
                await self._changed.wait()
            else:
                await self._govern(mode)

    def _sees(self) -> bool:
        """Whether there is anything to go by."""
        return self._energy.measures or read_temperature(self._root) is not None or bool(batteries(self._root))

    async def _govern(self, mode: Mode) -> None:
        """Until the settings change."""
        try:
            self._loop, self._mode = self._loop_of(mode), mode
        except ValueError as error:
            self._reason = f"It cannot work with these limits: {error}."
            _log.error("governor: off. %s", self._reason)
            await self._changed.wait()
            return
        running = asyncio.create_task(self._loop.run(), name="governor loop")
        changed = asyncio.create_task(self._changed.wait(), name="governor settings")
        try:
            await asyncio.wait({running, changed}, return_when=asyncio.FIRST_COMPLETED)
            if running.done() and (fault := running.exception()) is not None:
                _log.error("governor: it failed, and begins anew in %.0f s", AGAIN_S, exc_info=fault)
                self._release("It failed; see the log.")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(changed), AGAIN_S)
        finally:
            for task in (running, changed):
                task.cancel()
            await asyncio.wait({running, changed})
            self._release("")

    def _loop_of(self, mode: Mode) -> GovernorLoop:
        settings, bounds, limit = self._settings, self._bounds, self._clock_limit()
        ladder = build(*self._threads, limit.choices_mhz() if limit is not None else ())
        wanted = Bounds(
            soft_celsius=bounds.soft_celsius,
            hard_celsius=bounds.hard_celsius,
            hysteresis_celsius=bounds.hysteresis_celsius,
            batch_tokens=bounds.batch_tokens,
            most_watts=settings.power_target_watts,
            most_joules_per_token=settings.power_target_joules_per_token,
        )
        watch = Watch(self._work, meter=self._energy, root=self._root, run=self._run)
        governor = Governor(ladder, wanted, mode)
        return GovernorLoop(governor, watch, self._carry_out, clock_limit=limit, period_s=self._period_s)

    def _clock_limit(self) -> ClockLimit | None:
        """None where the clock is left alone."""
        memory = FoundClock(self._settings.state_dir / CLOCK, read_boot_id(self._root))
        with contextlib.suppress(EdgeAgentError):
            return ClockLimit(self._root, memory=memory)
        return None

    def _work(self) -> Work:
        running, tokens = self._workers.work()
        return Work(busy=running > 0, tokens=tokens)

    async def _carry_out(self, decision: Decision) -> None:
        threads, threads_batch = self._threads
        self._workers.throttle(
            Throttle(
                threads=None if decision.threads == threads else decision.threads,
                threads_batch=None if decision.threads_batch == threads_batch else decision.threads_batch,
                pause_ratio=decision.pause_ratio,
                batch_tokens=None if decision.batch_tokens == self._bounds.batch_tokens else decision.batch_tokens,
                admit=decision.admit,
            )
        )
        self._cadence.ratio = decision.partials_ratio

    def _release(self, reason: str) -> None:
        """Full speed, and nobody governs."""
        if self._loop is not None:
            self._changes += self._loop.changes
        self._loop, self._mode, self._reason = None, None, reason or self._reason
        self._workers.throttle(FULL_SPEED)
        self._cadence.ratio = 1.0

    # For whoever wants to know

    @property
    def decision(self) -> Decision | None:
        """The last one; None while it is off, and before the first."""
        return None if self._loop is None else self._loop.decision

    @property
    def changes(self) -> int:
        """How often it changed something since the start."""
        return self._changes + (0 if self._loop is None else self._loop.changes)

    @property
    def celsius(self) -> float | None:
        """The processor's temperature at the last look."""
        readings = None if self._loop is None else self._loop.readings
        return None if readings is None else readings.celsius

    def status(self) -> Mapping[str, Any]:
        """For /status: `mode` and `reason` always, and the decision where there is one."""
        decision = self.decision
        if decision is None:
            return {"mode": self._mode or "off", "reason": self._reason}
        return {
            "mode": self._mode,
            "reason": decision.reason,
            "cause": decision.cause,
            "rung": decision.rung,
            "threads": decision.threads,
            "threads_batch": decision.threads_batch,
            "max_mhz": decision.max_mhz,
            "pause_ratio": decision.pause_ratio,
            "batch_tokens": decision.batch_tokens,
            "partials_ratio": decision.partials_ratio,
            "admit": decision.admit,
            "changes": self.changes,
        }


def _wishes(settings: Settings) -> tuple[object, ...]:
    return settings.governor_mode, settings.power_target_watts, settings.power_target_joules_per_token
