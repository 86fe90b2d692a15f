"""How long to wait before the next attempt to connect. Pure: values and a clock in, values out.

Full jitter (M. Brooker, "Exponential Backoff And Jitter", 2015): each pause is uniform between 0 and a ceiling that
doubles, so that devices which lost their broker in the same moment come back spread over time. Connecting alone does
not reset the ceiling, or a broker that takes a connection and drops it would be hammered; minutes of connection do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Pauses:
    """`first_s` is the ceiling after the first failure, `cap_s` the highest one, `stable_s` what counts as stable."""

    first_s: float = 5.0
    cap_s: float = 120.0
    stable_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """`failures` since the last stable connection. `connected_at` is on the caller's clock."""

    pauses: Pauses = Pauses()
    failures: int = 0
    connected_at: float | None = None

    def connected(self, now: float) -> Backoff:
        return replace(self, connected_at=now)

    def failed(self, now: float) -> Backoff:
        """An attempt failed, or the connection was lost: where that one was stable, counting begins anew."""
        stable = self.connected_at is not None and now - self.connected_at >= self.pauses.stable_s
        return replace(self, failures=1 if stable else self.failures + 1, connected_at=None)

    def pause_s(self, dice: float, *, futile: bool = False) -> float:
        """`dice` is uniform in [0, 1). `futile`: nothing will change by itself (a wrong password, an expired
        certificate), so that the pause is at least half of the longest."""
        if futile:
            return self.pauses.cap_s * (0.5 + 0.5 * dice)
        return dice * min(self.pauses.cap_s, self.pauses.first_s * 2.0 ** min(self.failures - 1, 60))
