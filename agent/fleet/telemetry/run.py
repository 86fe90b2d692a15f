"""What goes into one message."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Run:
    """Samples of one type and boot, numbered from `first` on without a gap."""

    first: int
    boot: str
    offset_s: float
    lines: list[bytes] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1
