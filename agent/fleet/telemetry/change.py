"""What is to be changed on the disk, and what is there then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.fleet.telemetry.clock import Stamp
from agent.fleet.telemetry.sample import Kind, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeRow:
    """What is on the disk of one type. `last` is the newest number of `samples` stored ones."""

    id: int
    kind: Kind
    name: str
    reserved: int = 0
    confirmed: int = 0
    dropped: int = 0
    expired: int = 0
    last: int = 0
    samples: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeChange:
    """`samples` are added, those up to `confirmed` removed; `dropped` is how many were lost before they got here."""

    kind: Kind
    name: str
    reserved: int
    confirmed: int
    dropped: int = 0
    samples: Sequence[Sample] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`offset_s` is what is now known of the present boot's clock. `raised` replaces the alarms that are raised.
    `older_than` lets measurements expire: of this boot by `up_s`, of earlier ones by `time_s`."""

    offset_s: float
    types: Sequence[TypeChange] = ()
    raised: Mapping[str, bytes] | None = None
    older_than: Stamp | None = None
