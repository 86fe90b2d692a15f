from __future__ import annotations

from typing import Any

import pytest

from agent.updates.parts import Health
from agent.updates.record import Record, Rejected
from agent.updates.report import REJECTED_SHOWN, Snapshot, panel, sentence, twin
from agent.updates.states import State


def record(**changes: Any) -> Record:
    return Record(**{"id": 1, "name": "m", "target": "2", "origin": "desired", "version": "2", **changes})


def snapshot(*records: Record, ended: tuple[Record, ...] = (), **changes: Any) -> Snapshot:
    settings: dict[str, Any] = {
        "rev": "",
        "error": None,
        "rejected": (),
        "waits": {},
        "spent_bytes": 0,
        "bytes_per_day": None,
    }
    return Snapshot(records=records, ended=ended, **{**settings, **changes})


@pytest.mark.parametrize(
    ("changes", "waiting", "text"),
    [
        ({}, None, "wanted"),
        ({}, "window opens 02:00", "waiting: window opens 02:00"),
        (
            {"attempts": 2, "reason": "no answer"},
            "the next attempt is at 02:00:00",
            "waiting: the next attempt is at 02:00:00 (no answer)",
        ),
        ({"state": State.FETCHING, "bytes_done": 41, "bytes_total": 100}, None, "fetching 41%"),
        ({"state": State.FETCHING, "bytes_done": 100, "bytes_total": 100}, None, "fetching 99%"),
        ({"state": State.FETCHING}, None, "fetching 0%"),
        (
            {"state": State.PROBATION, "served_s": 12.4, "health": Health(requests_ok=3, requests_failed=1)},
            None,
            "on probation for 12 s, 4 requests, 1 failed",
        ),
        ({"state": State.REJECTED, "reason": "It is too slow."}, None, "rejected: It is too slow."),
    ],
)
def test_a_person_reads(changes: dict[str, Any], waiting: str | None, text: str) -> None:
    assert sentence(record(**changes), waiting) == text
    assert panel([record(**changes)], {1: waiting} if waiting else {}) == [f"m 2: {text}"]


def test_the_twin_has_the_latest_update_of_each_model() -> None:
    old = record(id=1, version="1", target="1", state=State.COMMITTED)
    new = record(id=2, state=State.FETCHING, bytes_done=5, bytes_total=10, rev="7")
    other = record(id=3, name="n", state=State.FAILED, reason="x" * 999)
    said = twin(snapshot(new, ended=(other, old), rev="7", waits={2: "window opens 02:00"}))
    assert said["rev"] == "7"
    assert said["models"]["m"]["update"] == {
        "state": "fetching",
        "target": "2",
        "version": "2",
        "rev": "7",
        "waiting": "window opens 02:00",
        "progress_percent": 50,
    }
    assert len(said["models"]["n"]["update"]["reason"]) == 300
    assert twin(snapshot()) == {"models": {}}


def test_progress_on_probation_is_no_news_for_the_fleet() -> None:
    early = snapshot(record(state=State.PROBATION, served_s=1.0))
    late = snapshot(record(state=State.PROBATION, served_s=99.0, health=Health(requests_ok=9)))
    assert twin(early) == twin(late)


def test_the_twin_has_the_last_rejected_versions_only() -> None:
    rejected = tuple(
        Rejected(digest=str(index), name="m", version=str(index), reason="slow", at=float(index)) for index in range(50)
    )
    assert list(twin(snapshot(rejected=rejected))["models"]["m"]["rejected"]) == [
        str(index) for index in range(50 - REJECTED_SHOWN, 50)
    ]
