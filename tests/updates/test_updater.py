"""One update from the wish to its end, on real folders."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.errors import (
    DiskFullError,
    ModelLoadError,
    ModelNotFoundError,
    NotConnectedError,
    RequestError,
    UnavailableError,
    UntrustedError,
    UpdateError,
)
from agent.store.durable import Filesystem
from agent.updates import updater as updaters
from agent.updates.parts import Health
from agent.updates.policy import Circumstances, Terms, check_windows
from agent.updates.record import Record
from agent.updates.report import as_values, twin
from agent.updates.states import Move, State
from agent.updates.updater import Updater
from tests.store.material import small_store
from tests.updates.local import BAD, NOON, PIECE_BYTES, POLICY, Site

WAIT_S = 20.0
LONG = {"probation_s": 3600.0}

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (("updater", "LOOK_S"), ("updater", "WATCH_S"), ("updater", "TROUBLE_S"), ("steps", "LOOK_S")):
        monkeypatch.setattr(f"agent.updates.{module}.{name}", 0.02)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.install("1", b"one" * 1000)
    site.publish("2", b"two" * 1000)
    return site


@contextlib.asynccontextmanager
async def running(site: Site, **changes: Any) -> AsyncIterator[Updater]:
    updater = site.updater(**changes)
    task = asyncio.create_task(updater.run())
    try:
        yield updater
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def on(site: Site, work: Callable[[Updater], Awaitable[Any]], **changes: Any) -> Any:
    async def all() -> Any:
        async with running(site, **changes) as updater:
            return await work(updater)

    return asyncio.run(all())


async def until(updater: Updater, good: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not good():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def last(updater: Updater) -> Record:
    """The newest update."""
    return max((*updater.snapshot().records, *updater.snapshot().ended), key=lambda one: one.id)


async def end(updater: Updater) -> Record:
    await until(updater, lambda: updater.opened and not updater.snapshot().records)
    return last(updater)


async def reached(updater: Updater, state: State) -> Record:
    await until(updater, lambda: last(updater).state is state)
    return last(updater)


async def waiting(updater: Updater, words: str) -> None:
    await until(updater, lambda: any(words in why for why in updater.snapshot().waits.values()))


def limits(site: Site, **changes: Any) -> None:
    site.policy = replace(site.policy, limits=replace(site.policy.limits, **changes))


def wish(site: Site, version: str | None = "2", **terms: Any) -> Record:
    """Asks, and waits for the end."""

    async def work(updater: Updater) -> Record:
        await updater.update("m", version, origin="person", terms=Terms(**terms))
        return await end(updater)

    found: Record = on(site, work)
    return found


def test_a_good_version_takes_over_and_the_one_before_stays(site: Site) -> None:
    record = wish(site)
    assert (record.state, record.version, record.previous) == (State.COMMITTED, "2", "1")
    assert site.active == "2"
    assert site.store.previous_version("m") == "1"
    assert record.figures == {"right": 1}
    assert (record.bytes_done, record.bytes_total) == (3000, 3000)
    assert site.store.verify("m", "2").manifest.version == "2"
    assert site.store.incoming.keys() == []


def test_without_a_version_it_is_the_latest(site: Site) -> None:
    assert wish(site, None).version == "2"


def test_a_model_that_was_not_there(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.publish("1", b"one")
    record = wish(site, "1")
    assert (record.state, record.previous, site.active) == (State.COMMITTED, None, "1")


def test_the_active_version_is_not_got_again(site: Site) -> None:
    record = wish(site, "1")
    assert (record.state, record.reason) == (State.COMMITTED, "it is active already")
    assert site.repository.asked == []


def test_a_version_in_the_store_is_tried_and_not_fetched(site: Site) -> None:
    site.store.import_folder(site.root / "repository" / "m" / "2", activate=False)
    assert wish(site).state is State.COMMITTED
    assert (site.repository.fetched_bytes, site.trial.judged, site.active) == (0, ["2"], "2")


def test_another_file_under_a_version_that_is_here_is_refused(site: Site) -> None:
    site.store.import_folder(site.root / "repository" / "m" / "2", activate=False)
    site.publish("2", b"other")
    record = wish(site, None)
    assert record.state is State.FAILED
    assert "is in the store and is not the repository's" in record.reason
    assert site.active == "1"


def test_a_bad_version_is_rejected_remembered_and_removed(site: Site) -> None:
    site.publish("2", BAD + b"two")
    record = wish(site)
    assert (record.state, record.reason) == (State.REJECTED, "1 of 1 answers are wrong")
    assert site.active == "1"
    assert site.store.layout.versions("m") == ["1"]
    second = wish(site)
    assert (second.state, second.reason) == (State.REJECTED, "rejected before: 1 of 1 answers are wrong")
    assert site.trial.judged == ["2"]


def test_a_rejected_one_is_tried_again_when_somebody_says_so(site: Site) -> None:
    site.publish("2", BAD + b"two")
    wish(site)
    assert wish(site, again=True).state is State.REJECTED
    assert site.trial.judged == ["2", "2"]


def test_a_rejected_version_that_was_there_before_stays_on_the_disk(site: Site) -> None:
    site.publish("2", BAD + b"two")
    site.store.import_folder(site.root / "repository" / "m" / "2", activate=False)
    assert wish(site).state is State.REJECTED
    assert site.store.layout.versions("m") == ["1", "2"]


def test_no_repository(site: Site) -> None:
    async def work(updater: Updater) -> Record:
        await updater.update("m", "2", origin="person")
        return await end(updater)

    record = on(site, work, fetching=None)
    assert record.state is State.FAILED
    assert "no repository of models is set" in record.reason


@pytest.mark.parametrize("name", ["", "../m", "m/2", "x" * 200])
def test_what_cannot_be_a_name_is_refused_at_once(site: Site, name: str) -> None:
    with pytest.raises(RequestError, match="cannot name a model"):
        on(site, lambda updater: updater.update(name, "2", origin="command"))
    with pytest.raises(RequestError, match="cannot name a version"):
        on(site, lambda updater: updater.update("m", name or "..", origin="command"))


# Trouble


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


# Resuming


def test_a_fetch_goes_on_where_it_was(site: Site) -> None:
    async def half(updater: Updater) -> None:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)

    on(site, half)
    assert site.repository.fetched_bytes == PIECE_BYTES
    site.repository.pause = None
    record = on(site, end)
    assert (record.state, site.repository.fetched_bytes) == (State.COMMITTED, 3 * PIECE_BYTES)
    assert record.bytes_fetched == 3 * PIECE_BYTES


def test_what_is_published_anew_under_its_name_begins_anew(site: Site) -> None:
    async def half(updater: Updater) -> None:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)

    on(site, half)
    site.repository.pause = None
    site.publish("2", b"new" * 1000)
    assert on(site, end).state is State.COMMITTED
    assert site.store.get("m", "2").main_path.read_bytes() == b"new" * 1000


@pytest.mark.parametrize("state", [State.TRYING, State.PROBATION])
def test_a_candidate_that_ends_the_daemon_again_and_again_is_rejected(site: Site, state: State) -> None:
    limits(site, **LONG)

    async def killed(updater: Updater) -> None:
        await until(updater, lambda: updater.opened)
        if not updater.snapshot().records:
            await updater.update("m", "2", origin="person")
        await reached(updater, state)
        # What SIGKILL leaves behind: no word that it stopped.
        updater._register.set_fact = lambda *_: asyncio.sleep(0)  # type: ignore[method-assign]

    if state is State.TRYING:

        async def judge(*_: Any) -> Any:
            await asyncio.sleep(60)

        site.trial.judge = judge  # type: ignore[assignment, method-assign]
    for _ in range(POLICY.interruptions):
        on(site, killed)
    record = on(site, end)
    assert record.state is State.REJECTED
    assert "the daemon was lost 3 times while it was" in record.reason
    assert site.active == "1"


def test_a_device_that_is_switched_off_after_each_use_comes_to_the_end_of_a_probation(site: Site) -> None:
    limits(site, **LONG)

    async def used_then_cut_off(updater: Updater) -> int:
        await until(updater, lambda: updater.opened)
        if not updater.snapshot().records:
            await updater.update("m", "2", origin="person")
        await reached(updater, State.PROBATION)
        site.watched.now = Health(requests_ok=1)
        asked = last(updater).health.requests_ok
        await until(updater, lambda: last(updater).health.requests_ok > asked)
        await updater._register.note(last(updater).id, force=True)
        updater._register.set_fact = lambda *_: asyncio.sleep(0)  # type: ignore[method-assign]
        return last(updater).interruptions

    for _ in range(5):
        site.watched.now = Health()
        assert on(site, used_then_cut_off) == 0
    assert site.active == "2"


def test_stops_in_order_count_for_nothing(site: Site) -> None:
    limits(site, **LONG)

    async def stopped(updater: Updater) -> int:
        await until(updater, lambda: updater.opened)
        if not updater.snapshot().records:
            await updater.update("m", "2", origin="person")
        return (await reached(updater, State.PROBATION)).interruptions

    assert [on(site, stopped) for _ in range(5)] == [0] * 5


def test_folders_that_nobody_goes_on_with_are_swept(site: Site) -> None:
    folder = site.store.incoming.folder("abc")
    (folder / "half").write_bytes(b"x")

    async def begun(updater: Updater) -> None:
        await until(updater, lambda: updater.opened)

    on(site, begun)
    assert site.store.incoming.keys() == []


# Probation


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


# Policy


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


# What is wanted


def test_the_same_wish_twice_is_one_update(site: Site) -> None:
    async def work(updater: Updater) -> int:
        site.repository.pause = asyncio.Event()
        first = await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        second = await updater.update("m", "2", origin="command")
        assert first.id == second.id
        return len(updater.snapshot().records)

    assert on(site, work) == 1


def test_asking_again_does_not_wait_for_the_next_attempt(site: Site) -> None:
    site.policy = replace(site.policy, retry_first_s=3600, retry_cap_s=3600)
    site.repository.errors = [UpdateError("no answer", retry=True)]

    async def work(updater: Updater) -> Record:
        await updater.update("m", "2", origin="person")
        await waiting(updater, "the next attempt is at")
        assert "(no answer)" in as_values(updater.snapshot())["updates"][0]["says"]
        await updater.update("m", "2", origin="person")
        return await end(updater)

    assert on(site, work).state is State.COMMITTED


def test_the_last_word_counts(site: Site) -> None:
    site.publish("3", b"three")

    async def work(updater: Updater) -> list[tuple[str | None, State]]:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        site.repository.pause.set()
        site.repository.pause = None
        await updater.update("m", "3", origin="person")
        await end(updater)
        return [(one.version, one.state) for one in updater.snapshot().ended]

    assert on(site, work) == [("3", State.COMMITTED), ("2", State.CANCELLED)]
    assert site.active == "3"
    assert site.store.layout.versions("m") == ["1", "3"]
    assert site.store.incoming.keys() == []


def test_a_newer_wish_waits_for_the_end_of_a_probation(site: Site) -> None:
    site.publish("3", b"three")
    limits(site, probation_requests=1, **LONG)

    async def work(updater: Updater) -> list[tuple[str | None, State]]:
        await updater.update("m", "2", origin="person")
        await reached(updater, State.PROBATION)
        await updater.update("m", "3", origin="person")
        await waiting(updater, "m 2 is on probation")
        site.watched.now = Health(requests_ok=1)
        await end(updater)
        return [(one.version, one.state) for one in updater.snapshot().ended]

    assert on(site, work) == [("3", State.COMMITTED), ("2", State.COMMITTED)]


def test_who_wants_the_version_before_ends_a_probation(site: Site) -> None:
    limits(site, **LONG)

    async def work(updater: Updater) -> list[tuple[str | None, State]]:
        await updater.update("m", "2", origin="person")
        await reached(updater, State.PROBATION)
        await updater.update("m", "1", origin="person")
        await end(updater)
        assert updater.snapshot().rejected == ()
        return [(one.version, one.state) for one in updater.snapshot().ended]

    assert on(site, work) == [("1", State.COMMITTED), ("2", State.CANCELLED)]
    assert site.active == "1"


def test_cancelling(site: Site) -> None:
    async def work(updater: Updater) -> Record:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        await updater.cancel("m")
        return await end(updater)

    record = on(site, work)
    assert (record.state, record.reason, site.active) == (State.CANCELLED, "it was cancelled", "1")
    with pytest.raises(RequestError, match="No update of m"):
        on(site, lambda updater: updater.cancel("m"))
    assert site.repository.fetched_bytes == PIECE_BYTES
    site.repository.pause = None
    assert wish(site).state is State.COMMITTED
    assert site.repository.fetched_bytes == 3 * PIECE_BYTES, "what was fetched before is not fetched again"
    assert site.store.incoming.keys() == []


def test_what_is_left_of_another_gives_way_when_room_is_needed(site: Site) -> None:
    class Small(Filesystem):
        def free_bytes(self, folder: Path) -> int:
            return 1_000 if len(list(folder.parent.iterdir())) > 1 else 1_000_000_000

    site.publish("3", b"three" * 1000)
    site.store = small_store(site.root / "models", filesystem=Small())

    async def begin(updater: Updater) -> None:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        await updater.cancel("m")
        await end(updater)

    on(site, begin)
    assert len(site.store.incoming.keys()) == 1
    site.repository.pause = None
    assert wish(site, "3").state is State.COMMITTED
    assert site.store.incoming.keys() == []


async def begun_by_a_command(site: Site, updater: Updater) -> None:
    site.repository.pause = asyncio.Event()
    await updater.update("m", "2", origin="command", terms=Terms(urgent=True))
    await until(updater, lambda: site.repository.fetched_bytes)


def test_a_command_that_is_taken_back_ends_its_update(site: Site) -> None:
    async def work(updater: Updater) -> Record:
        await begun_by_a_command(site, updater)
        for name, version, terms in (
            ("x", "2", Terms(urgent=True)),
            ("m", None, Terms(urgent=True)),
            ("m", "2", Terms()),
        ):
            await updater.withdraw(name, version, terms=terms)
        await updater.withdraw("m", "2", terms=Terms(urgent=True), spared={last(updater).id})
        assert last(updater).state is State.FETCHING, "another update, or one that another command waits for"
        await updater.withdraw("m", "2", terms=Terms(urgent=True))
        return await end(updater)

    record = on(site, work)
    assert (record.state, record.reason, site.active) == (State.CANCELLED, "its command was taken back", "1")


@pytest.mark.parametrize("origin", ["person", "desired"])
def test_a_command_that_is_taken_back_leaves_what_others_want_too(site: Site, origin: str) -> None:
    async def work(updater: Updater) -> Record:
        await begun_by_a_command(site, updater)
        if origin == "person":
            await updater.update("m", "2", origin="person", terms=Terms(urgent=True))
        else:
            whole = {"rev": 7, "models": {"m": {"target": "2", "policy": {"urgent": True}}}}
            await updater.desired(json.dumps(whole).encode())
        await updater.withdraw("m", "2", terms=Terms(urgent=True))
        assert site.repository.pause is not None
        site.repository.pause.set()
        return await end(updater)

    record = on(site, work)
    assert (record.state, record.origin, record.id) == (State.COMMITTED, origin, 1)


def test_what_is_served_from_a_file_is_not_updated(site: Site) -> None:
    async def work(updater: Updater) -> Record:
        await updater.update("m", "2", origin="person")
        return await end(updater)

    record = on(site, work, served_from=lambda name: Path(f"/srv/{name}.gguf"))
    assert (record.state, site.repository.asked) == (State.FAILED, [])
    assert record.reason.startswith("m is served from the file /srv/m.gguf, which an update does not change.")


# The desired state


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


def test_every_move_is_told(site: Site) -> None:
    async def work(updater: Updater) -> list[str]:
        record = await updater.update("m", "2", origin="person")
        await end(updater)
        return [step["move"] for step in await updater.moves(record.id)]

    assert on(site, work) == [
        Move.RESOLVE,
        Move.FETCH,
        Move.ADOPT,
        Move.PASS,
        Move.BEGIN,
        Move.SWITCH,
        Move.PROVE,
    ]
    assert site.changes > 7


def test_a_journal_that_cannot_be_opened_is_told_and_opened_when_it_can(site: Site) -> None:
    path = site.root / "updates.db"
    path.mkdir()

    async def work(updater: Updater) -> Record:
        await until(updater, lambda: updater.snapshot().error)
        path.rmdir()
        await updater.update("m", "2", origin="person")
        return await end(updater)

    assert on(site, work).state is State.COMMITTED


def test_waiting_is_bounded_for_who_asks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updaters, "READY_S", 0.05)
    (site.root / "updates.db").mkdir()
    with pytest.raises(UnavailableError, match="The updater is not ready"):
        on(site, lambda updater: updater.update("m", "2", origin="person"))
