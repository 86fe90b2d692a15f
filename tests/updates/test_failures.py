"""What becomes of an update whose step has failed, on real folders."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.errors import (
    DiskFullError,
    ModelLoadError,
    ModelNotFoundError,
    NotConnectedError,
    UntrustedError,
    UpdateError,
)
from agent.store.durable import Filesystem
from agent.updates.states import State
from tests.store.material import small_store
from tests.updates.driving import limits, wish
from tests.updates.local import Site

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize(
    ("error", "state", "asked"),
    [
        (UpdateError("no answer", retry=True), State.COMMITTED, 3),
        (NotConnectedError("no broker"), State.COMMITTED, 3),
        (DiskFullError("no room"), State.COMMITTED, 3),
        (ModelNotFoundError("not yet"), State.COMMITTED, 3),
        (UntrustedError("wrong key", retry=True), State.COMMITTED, 3),
        (UntrustedError("wrong key"), State.FAILED, 1),
        (UpdateError("403"), State.FAILED, 1),
    ],
)
def test_what_may_mend_is_tried_again(site: Site, error: Exception, state: State, asked: int) -> None:
    site.repository.errors = [error, error]  # type: ignore[list-item]
    record = wish(site)
    assert record.state is state
    assert len(site.repository.asked) == asked
    assert site.active == ("2" if state is State.COMMITTED else "1")


def test_attempts_are_bounded(site: Site) -> None:
    site.repository.errors = [UpdateError("no answer", retry=True)] * 99
    record = wish(site)
    assert (record.state, record.reason, record.attempts) == (State.FAILED, "no answer", 3)
    assert len(site.repository.asked) == 3
    assert site.active == "1"


def test_a_mistake_in_a_part_counts_as_an_attempt(site: Site) -> None:
    site.trial.errors = [ZeroDivisionError("x")] * 9  # type: ignore[list-item]
    record = wish(site)
    assert record.state is State.FAILED
    assert "internal error: ZeroDivisionError" in record.reason
    assert site.active == "1"


def test_a_version_that_does_not_serve_goes_back_and_is_rejected(site: Site) -> None:
    site.switch.errors = [ModelLoadError("no such tensor")]
    record = wish(site)
    assert (record.state, site.active) == (State.REJECTED, "1")
    assert "it does not serve: no such tensor" in record.reason


def test_a_switch_that_nobody_can_make_leaves_the_old_version(site: Site) -> None:
    site.switch.errors = [NotConnectedError("busy")] * 9
    record = wish(site)
    assert (record.state, site.active) == (State.CANCELLED, "1")
    assert "busy" in record.reason


def test_a_trial_without_end_is_a_failed_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def judge(*_: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr("agent.updates.steps.OVERTIME_S", 0.0)
    monkeypatch.setattr(site.trial, "judge", judge)
    limits(site, trial_timeout_s=0.02)
    record = wish(site)
    assert (record.state, record.reason) == (State.REJECTED, "its trial did not end within 0.02 s")


def test_a_full_disk_is_said_with_numbers_and_leaves_nothing(site: Site) -> None:
    class Full(Filesystem):
        def free_bytes(self, folder: Path) -> int:
            return 1000

    site.store = small_store(site.root / "models", filesystem=Full())
    record = wish(site)
    assert record.state is State.FAILED
    assert "The disk has 0.0 MB free; 0.0 MB are needed" in record.reason
    assert site.store.incoming.keys() == []
    assert site.active == "1"
