"""Samples against two clocks: how many never came, even when the driver says nothing. Pure.

A late block is not a lost one: what counts is the least delay within a stretch of regular delivery. That delay drifts
slowly, because no sound card's clock is the computer's; a jump of it is lost sound. Sound servers also change their
latency by a block or two, which looks the same by the time of arrival, but not by the time of recording that the driver
computes. That one jumps now and then without any loss (PulseAudio: by 0.5 s while it starts). So both must jump.
"""

from __future__ import annotations

WINDOW_S = 1.0
TOLERANCE_S = 0.06
"""Two blocks: below this a jump is drift (a clock 1% off moves by 10 ms in a window)."""
STALL_S = 0.25
"""After such a pause, blocks that were held back arrive at once: the window starts again behind it."""


class _Delay:
    """The delay of one clock: the least within the window, and what is usual."""

    def __init__(self) -> None:
        self._least: float | None = None
        self._usual: float | None = None

    def seen(self, delay_s: float) -> None:
        self._least = delay_s if self._least is None else min(self._least, delay_s)

    def restart(self) -> None:
        self._least = None

    def jump_s(self) -> float | None:
        """How much more than usual the window's least is; None where nothing can be compared."""
        return None if self._least is None or self._usual is None else self._least - self._usual

    def settle(self, lost_s: float) -> None:
        """The window is over: its delay is the usual one from now on, less what was lost, which is counted now."""
        if self._least is not None:
            self._usual = self._least - lost_s
        self._least = None


class SampleClock:
    """Call `feed` for every block that arrives, at its own rate."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._received = 0
        self._started: float | None = None
        self._last = 0.0
        self._window_from = 0.0
        self._arrival = _Delay()
        self._recording = _Delay()

    def feed(self, samples: int, now: float, recorded_at: float | None = None) -> int:
        """`samples` more have come by `now` (monotonic, seconds), recorded from `recorded_at` on by the driver's
        clock, where it has one. The samples that are found to be lost, or 0."""
        if self._started is None:
            self._started = self._last = self._window_from = now
        if now - self._last > STALL_S:
            self._window_from = now
            self._arrival.restart()
            self._recording.restart()
        self._last = now
        if recorded_at is not None:
            self._recording.seen(recorded_at - self._received / self._rate_hz)
        self._received += samples
        self._arrival.seen(now - self._started - self._received / self._rate_hz)
        if now - self._window_from < WINDOW_S:
            return 0
        self._window_from = now
        jumps = [jump for jump in (self._arrival.jump_s(), self._recording.jump_s()) if jump is not None]
        lost = round(min(jumps) * self._rate_hz) if jumps and min(jumps) > TOLERANCE_S else 0
        self._arrival.settle(lost / self._rate_hz)
        self._recording.settle(lost / self._rate_hz)
        self._received += lost
        return lost
