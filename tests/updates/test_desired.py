"""Updates that the fleet wants."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agent.errors import (
    UpdateError,
)
from agent.updates.record import Record
from agent.updates.report import twin
from agent.updates.states import State
from agent.updates.updater import Updater
from tests.updates.driving import end, on, until
from tests.updates.local import BAD, Site

pytestmark = pytest.mark.usefixtures("impatient")


def desired(rev: int, **targets: str) -> bytes:
    return json.dumps({"rev": rev, "models": {name: {"target": target} for name, target in targets.items()}}).encode()


def test_the_desired_state_is_striven_for_once(site: Site) -> None:
    async def work(updater: Updater) -> int:
        for _ in range(3):
            await updater.desired(desired(1, m="2"))
            await end(updater)
        return len(updater.snapshot().ended)

    assert on(site, work) == 1
    assert site.active == "2"
    assert on(site, lambda updater: until(updater, lambda: updater.snapshot().rev == "1")) is None


def test_it_is_known_after_a_restart_without_a_broker(site: Site) -> None:
    async def begin(updater: Updater) -> None:
        site.repository.pause = asyncio.Event()
        await updater.desired(desired(1, m="2"))
        await until(updater, lambda: site.repository.fetched_bytes)

    on(site, begin)
    site.repository.pause = None
    record = on(site, end)
    assert (record.state, record.rev, record.origin) == (State.COMMITTED, "1", "desired")


def test_a_new_revision_tries_again_what_had_failed_but_not_what_was_rejected(site: Site) -> None:
    site.publish("2", BAD)
    site.repository.errors = [UpdateError("403")]

    async def work(updater: Updater) -> list[State]:
        for rev in (1, 1, 2, 3):
            await updater.desired(desired(rev, m="2"))
            await end(updater)
        return [one.state for one in reversed(updater.snapshot().ended)]

    assert on(site, work) == [State.FAILED, State.REJECTED, State.REJECTED]
    assert site.trial.judged == ["2"]

    async def after(updater: Updater) -> Any:
        await end(updater)
        return twin(updater.snapshot())["models"]["m"]["rejected"]

    assert on(site, after) == {"2": "1 of 1 answers are wrong"}


@pytest.mark.parametrize("payload", [b"", desired(2), desired(2, other="1")])
def test_what_is_not_desired_any_more_is_taken_back(site: Site, payload: bytes) -> None:
    async def work(updater: Updater) -> State:
        site.repository.pause = asyncio.Event()
        await updater.desired(desired(1, m="2"))
        await until(updater, lambda: site.repository.fetched_bytes)
        await updater.desired(payload)
        await until(updater, lambda: any(one.name == "m" for one in updater.snapshot().ended))
        return next(one.state for one in updater.snapshot().ended if one.name == "m")

    assert on(site, work) is State.CANCELLED


def test_a_person_s_wish_is_nobody_else_s_to_take_back(site: Site) -> None:
    async def work(updater: Updater) -> int:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        await updater.desired(desired(2))
        return len(updater.snapshot().records)

    assert on(site, work) == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"rev": -1}',
        b'{"rev": 1, "models": {"../m": {"target": "1"}}}',
        b'{"rev": 1, "models": {"m": {"target": "../1"}}}',
        b'{"rev": 1, "models": {"m": {"target": 1}}}',
        b'{"rev": 1, "models": {"m": {"target": "1", "policy": {"urgent": "yes"}}}}',
        b'{"rev": 1, "models": {"m": {"target": "1", "policy": {"speed": 1}}}}',
        b'{"rev": 1, "models": {"m": {"target": "1", "policy": {"attempts": 0}}}}',
        b"[" * 100_000,
        b" " * 100_000,
        b"\xff",
        json.dumps({"rev": 1, "models": {f"m{index}": {"target": "1"} for index in range(99)}}).encode(),
    ],
)
def test_a_desired_state_that_cannot_be_read_changes_nothing_and_is_told(site: Site, payload: bytes) -> None:
    async def work(updater: Updater) -> None:
        await updater.desired(desired(1, m="1"))
        await end(updater)
        await updater.desired(payload)
        assert updater.snapshot().error
        assert updater.snapshot().rev == "1"
        assert twin(updater.snapshot())["error"]
        await updater.desired(desired(2, m="1"))
        assert updater.snapshot().error is None

    on(site, work)


def test_fields_of_others_are_let_be(site: Site) -> None:
    payload = b'{"rev": "a", "models": {"m": {"target": "2", "note": "canary"}}, "by": "me"}'

    async def work(updater: Updater) -> Record:
        await updater.desired(payload)
        return await end(updater)

    assert on(site, work).rev == "a"
