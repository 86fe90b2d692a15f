"""Updates that wait for their window, for bytes, for silence, for each other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.updates.policy import Circumstances, Terms, check_windows
from agent.updates.record import Record
from agent.updates.report import as_values, twin
from agent.updates.states import State
from agent.updates.updater import Updater
from tests.updates.driving import end, last, on, until, waiting
from tests.updates.local import NOON, PIECE_BYTES, Site

pytestmark = pytest.mark.usefixtures("impatient")


def test_it_says_why_it_waits_and_goes_on_when_the_window_opens(site: Site) -> None:
    site.policy = replace(site.policy, windows=check_windows(["13:00-14:00"]))

    async def work(updater: Updater) -> Record:
        await updater.update("m", "2", origin="person")
        await waiting(updater, "window opens 13:00")
        (said,) = as_values(updater.snapshot())["updates"]
        assert said["says"] == "waiting: window opens 13:00"
        assert twin(updater.snapshot())["models"]["m"]["update"]["waiting"] == "window opens 13:00"
        assert site.repository.fetched_bytes == 0
        site.around = Circumstances(now=NOON + timedelta(hours=1))
        return await end(updater)

    assert on(site, work).state is State.COMMITTED


def test_a_window_that_closes_stops_a_fetch_and_the_next_one_goes_on(site: Site) -> None:
    site.policy = replace(site.policy, windows=check_windows(["12:00-13:00"]))

    async def work(updater: Updater) -> Record:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        site.around = Circumstances(now=NOON + timedelta(hours=1))
        await waiting(updater, "window opens 12:00")
        assert site.repository.fetched_bytes == PIECE_BYTES
        site.repository.pause = None
        site.around = Circumstances(now=NOON + timedelta(days=1))
        return await end(updater)

    assert on(site, work).state is State.COMMITTED
    assert site.repository.fetched_bytes == 3 * PIECE_BYTES


def test_the_day_s_bytes_are_kept_to_and_counted_over_restarts(site: Site) -> None:
    site.policy = replace(site.policy, bytes_per_day=2 * PIECE_BYTES)

    async def work(updater: Updater) -> None:
        await until(updater, lambda: updater.opened)
        if not updater.snapshot().records:
            await updater.update("m", "2", origin="person")
        await waiting(updater, "the day's 2 KB are used up")
        assert as_values(updater.snapshot())["today"]["fetched_bytes"] == 2 * PIECE_BYTES

    on(site, work)
    on(site, work)
    assert site.repository.fetched_bytes == 2 * PIECE_BYTES
    site.around = Circumstances(now=NOON + timedelta(days=1))
    assert on(site, end).state is State.COMMITTED


def test_nobody_is_interrupted_while_speaking(site: Site) -> None:
    site.around = Circumstances(now=NOON, speaking=True)

    async def work(updater: Updater) -> Record:
        await updater.update("m", "2", origin="person")
        await waiting(updater, "somebody is speaking")
        assert last(updater).state is State.TRYING
        site.around = Circumstances(now=NOON)
        return await end(updater)

    assert on(site, work).state is State.COMMITTED


def test_what_is_urgent_overtakes(site: Site) -> None:
    site.install("1", b"one", name="n")
    site.publish("2", b"two" * 1000, name="n")

    async def work(updater: Updater) -> list[str]:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        site.policy = replace(site.policy, windows=check_windows(["13:00-14:00"]))
        updater.apply(site.policy)
        await waiting(updater, "window opens")
        site.repository.pause = None
        await updater.update("n", "2", origin="person", terms=Terms(urgent=True))
        await until(updater, lambda: updater.snapshot().ended)
        return [one.name for one in updater.snapshot().ended]

    assert on(site, work) == ["n"]
