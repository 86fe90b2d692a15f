"""What the outbox may use, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass

from agent.fleet.telemetry.wear import Written


@dataclass(frozen=True, kw_only=True)
class OutboxLimits:
    """`cap_bytes` is for the files on the disk, `memory_bytes` for samples that are not on it. Measurements are
    dropped when they are older than `keep_s`; 0 keeps them."""

    cap_bytes: int = 16 * 1024 * 1024
    memory_bytes: int = 1024 * 1024
    flush_s: float = 300.0
    keep_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OutboxState:
    """`trouble` says why nothing can be written at present. What was dropped and expired is by type, since the
    database was made."""

    samples: int
    memory_samples: int
    disk_bytes: int
    dropped: dict[str, int]
    expired: dict[str, int]
    written: Written
    written_last_hour: Written
    trouble: str | None
