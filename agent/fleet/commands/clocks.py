"""The clocks that a command's time is measured by."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.fleet.commands.expiry import Deadline, left_at_arrival_s
from agent.hardware.sensors.boot import read_boot_id, up_s


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """`up` counts from the boot `boot` and is never set; `wall` is Unix time, as wrong as the device's clock."""

    up: Callable[[], float] = up_s
    wall: Callable[[], float] = time.time
    boot: str = field(default_factory=read_boot_id)

    def deadline(
        self, *, expires_at: float | None, issued_at: float | None, message_expiry_s: float | None
    ) -> Deadline:
        """Of a command that has just come."""
        wall_s = self.wall()
        left_s = left_at_arrival_s(
            expires_at=expires_at, issued_at=issued_at, message_expiry_s=message_expiry_s, wall_s=wall_s
        )
        return Deadline(
            expires_at=expires_at, left_s=left_s, arrived_up_s=self.up(), arrived_wall_s=wall_s, boot=self.boot
        )

    def over(self, deadline: Deadline) -> bool:
        return deadline.over(up_s=self.up(), wall_s=self.wall(), boot=self.boot)

    def remaining_s(self, deadline: Deadline) -> float:
        return deadline.remaining_s(up_s=self.up(), wall_s=self.wall(), boot=self.boot)
