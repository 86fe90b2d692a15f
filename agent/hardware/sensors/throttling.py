"""Whether the board holds its clocks down: the Raspberry Pi's firmware says it in bits, x86 counts how often."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.hardware import sysfile
from agent.hardware.checks import read_throttled
from agent.hardware.command import Runner, no_command, run_command

REASONS: Final = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of `get_throttled` for now; 16 higher for "since the boot": raspberrypi.com/documentation, vcgencmd."""


@dataclass(frozen=True, kw_only=True)
class Throttling:
    """`now` and `since_boot` name what holds the clocks down. `count` is how often x86 did it since the boot; its
    hardware does not say whether it does at this moment, so a reader compares two counts."""

    now: tuple[str, ...] = ()
    since_boot: tuple[str, ...] = ()
    count: int | None = None


def parse_bits(bits: int) -> Throttling:
    """`0x50005` is under-voltage and throttled, now and before."""
    return Throttling(
        now=tuple(reason for bit, reason in REASONS.items() if bits >> bit & 1),
        since_boot=tuple(reason for bit, reason in REASONS.items() if bits >> (bit + 16) & 1),
    )


def read_throttling(root: Path = Path("/"), *, run: Runner | None = None) -> Throttling | None:
    """None where the machine under `root` does not say."""
    run = run or (run_command if root == Path("/") else no_command)
    bits = read_throttled(root, run)
    if bits is not None:
        return parse_bits(bits)
    counts = [
        count
        for file in sysfile.list_names(
            root / "sys/devices/system/cpu", "cpu[0-9]*/thermal_throttle/package_throttle_count"
        )
        if (count := sysfile.read_int(file)) is not None
    ]
    return Throttling(count=max(counts)) if counts else None
