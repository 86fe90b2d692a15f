"""Versions on probation, the way back, and what is removed."""

from __future__ import annotations

import pytest

from agent.errors import (
    NotConnectedError,
)
from agent.updates.parts import Health
from agent.updates.record import Record
from agent.updates.states import State
from agent.updates.updater import Updater
from tests.updates.driving import LONG, end, last, limits, on, reached, until, wish
from tests.updates.local import Site

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize(
    ("health", "state", "words"),
    [
        (Health(requests_ok=3), State.COMMITTED, "3 requests went well"),
        (Health(crashes=1), State.REJECTED, "crash"),
        (Health(requests_ok=3, requests_failed=2), State.REJECTED, "2 of 5 requests failed"),
    ],
)
def test_probation(site: Site, health: Health, state: State, words: str) -> None:
    limits(site, probation_requests=3 if not health.requests_failed else 50, **LONG)

    async def work(updater: Updater) -> Record:
        await updater.update("m", "2", origin="person")
        await reached(updater, State.PROBATION)
        assert site.active == "2"
        site.watched.now = health
        return await end(updater)

    record = on(site, work)
    assert record.state is state
    assert words in record.reason
    assert record.health == health
    assert site.active == ("2" if state is State.COMMITTED else "1")


def test_probation_adds_up_over_restarts(site: Site) -> None:
    limits(site, probation_requests=5, **LONG)

    async def first(updater: Updater) -> None:
        await updater.update("m", "2", origin="person")
        await reached(updater, State.PROBATION)
        site.watched.now = Health(requests_ok=3)
        await until(updater, lambda: last(updater).health.requests_ok == 3)
        await updater._register.note(last(updater).id, force=True)

    async def second(updater: Updater) -> Record:
        site.watched.now = Health(requests_ok=2)
        return await end(updater)

    on(site, first)
    site.watched.now = Health()
    record = on(site, second)
    assert (record.state, record.health.requests_ok) == (State.COMMITTED, 5)


def test_who_rolls_back_by_hand_is_not_contradicted(site: Site) -> None:
    limits(site, **LONG)

    async def work(updater: Updater) -> Record:
        await updater.update("m", "2", origin="person")
        await reached(updater, State.PROBATION)
        site.store.rollback("m")
        return await end(updater)

    record = on(site, work)
    assert (record.state, record.reason) == (State.CANCELLED, "another version was activated")
    assert site.active == "1"


def test_the_way_back_is_tried_until_it_works(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(site, **LONG)
    back, tries = site.switch.back, []

    async def stubborn(name: str, version: str | None) -> None:
        tries.append(version)
        if len(tries) < 6:
            raise NotConnectedError("busy")
        await back(name, version)

    monkeypatch.setattr(site.switch, "back", stubborn)

    async def work(updater: Updater) -> Record:
        await updater.update("m", "2", origin="person")
        await reached(updater, State.PROBATION)
        site.watched.now = Health(crashes=1)
        return await end(updater)

    assert on(site, work).state is State.REJECTED
    assert site.active == "1"


def test_old_versions_that_came_as_updates_go_those_of_people_stay(site: Site) -> None:
    for version in ("3", "4"):
        site.publish(version, version.encode() * 1000)
    for version in ("2", "3", "4"):
        assert wish(site, version).state is State.COMMITTED
    # "1" was imported by hand; "2" came as an update and is neither active nor the way back.
    assert site.store.layout.versions("m") == ["1", "3", "4"]
