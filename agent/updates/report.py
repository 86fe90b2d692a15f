"""Updates as others are told of them: /updates and /status, the fleet's twin, the command line. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.updates.record import Record, Rejected
from agent.updates.states import State

TWIN_STEP_PERCENT: Final = 5
SHOWN: Final = 20
"""Of those that have ended."""
REASON_LIMIT: Final = 300
"""Of what the twin says, which lies in the broker's memory for each device."""
REJECTED_SHOWN: Final = 8
"""Per model, the latest."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """`records` are under way, `ended` the latest first, `waits` why an update waits, by its number. `rev` is that of
    the desired state that was read last, "" without one."""

    rev: str
    error: str | None
    records: tuple[Record, ...]
    ended: tuple[Record, ...]
    rejected: tuple[Rejected, ...]
    waits: Mapping[int, str]
    spent_bytes: int
    bytes_per_day: int | None


def as_values(snapshot: Snapshot) -> dict[str, Any]:
    """`GET /updates`."""
    return {
        "rev": snapshot.rev or None,
        "error": snapshot.error,
        "updates": [described(record, snapshot.waits.get(record.id)) for record in snapshot.records],
        "ended": [described(record) for record in snapshot.ended[:SHOWN]],
        "rejected": [
            {"model": one.name, "version": one.version, "digest": one.digest, "reason": one.reason, "at": one.at}
            for one in snapshot.rejected
        ],
        "today": {"fetched_bytes": snapshot.spent_bytes, "limit_bytes": snapshot.bytes_per_day},
    }


def described(record: Record, waiting: str | None = None) -> dict[str, Any]:
    """One update: plain values. Times are Unix time."""
    return {
        "id": record.id,
        "model": record.name,
        "target": record.target,
        "version": record.version,
        "previous": record.previous,
        "state": record.state.value,
        "says": sentence(record, waiting),
        "waiting": waiting,
        "reason": record.reason or None,
        "origin": record.origin,
        "rev": record.rev or None,
        "attempts": record.attempts,
        "retry_at": record.retry_at,
        "progress_percent": percent(record),
        "bytes_done": record.bytes_done,
        "bytes_total": record.bytes_total,
        "bytes_missing": record.bytes_missing,
        "bytes_fetched": record.bytes_fetched,
        "figures": dict(record.figures),
        "probation": {
            "served_s": round(record.served_s, 1),
            "requests_ok": record.health.requests_ok,
            "requests_failed": record.health.requests_failed,
            "crashes": record.health.crashes,
        },
        "created_at": record.created_at,
        "changed_at": record.changed_at,
    }


def sentence(record: Record, waiting: str | None) -> str:
    """How it stands, for a person: "waiting: window opens 02:00", "fetching 41%"."""
    if waiting is not None:
        why = f" ({record.reason})" if record.attempts and record.reason else ""
        return f"waiting: {waiting}{why}"
    if record.state is State.FETCHING:
        return f"fetching {percent(record)}%"
    if record.state is State.PROBATION:
        asked = record.health.requests_ok + record.health.requests_failed
        return f"on probation for {record.served_s:.0f} s, {asked} requests, {record.health.requests_failed} failed"
    return f"{record.state.value}: {record.reason}" if record.reason else record.state.value


def percent(record: Record) -> int:
    """Of its files that are here."""
    if record.state in (State.WANTED, State.FETCHING):
        return min(99, record.bytes_done * 100 // record.bytes_total) if record.bytes_total else 0
    return 100


def twin(snapshot: Snapshot) -> dict[str, Any]:
    """What `P/twin/model` says of updates: `rev` and `error` of the desired state, and by model its latest `update`
    and the `rejected` versions. Without figures that change all the time: each change is a message."""
    models: dict[str, dict[str, Any]] = {}
    for record in (*reversed(snapshot.ended), *snapshot.records):
        models.setdefault(record.name, {})["update"] = _brief(record, snapshot.waits.get(record.id))
    for one in snapshot.rejected:
        found = models.setdefault(one.name, {}).setdefault("rejected", {})
        found[one.version] = one.reason[:REASON_LIMIT]
    for said in models.values():
        if "rejected" in said:
            said["rejected"] = dict(list(said["rejected"].items())[-REJECTED_SHOWN:])
    whole: dict[str, Any] = {"models": models}
    if snapshot.rev:
        whole["rev"] = snapshot.rev
    if snapshot.error:
        whole["error"] = snapshot.error[:REASON_LIMIT]
    return whole


def _brief(record: Record, waiting: str | None) -> dict[str, Any]:
    said: dict[str, Any] = {"state": record.state.value}
    for key, value in (
        ("target", record.target),
        ("version", record.version),
        ("rev", record.rev),
        ("reason", record.reason[:REASON_LIMIT]),
        ("waiting", waiting),
        ("attempts", record.attempts),
    ):
        if value:
            said[key] = value
    if record.state is State.FETCHING:
        said["progress_percent"] = percent(record) // TWIN_STEP_PERCENT * TWIN_STEP_PERCENT
    return said


def panel(records: Sequence[Record], waits: Mapping[int, str]) -> list[str]:
    """A line for each update under way."""
    return [f"{record.label}: {sentence(record, waits.get(record.id))}" for record in records]
