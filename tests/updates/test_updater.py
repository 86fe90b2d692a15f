"""One update from the wish to its end, on real folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import (
    RequestError,
    UnavailableError,
)
from agent.updates import updater as updaters
from agent.updates.record import Record
from agent.updates.states import Move, State
from agent.updates.updater import Updater
from tests.updates.driving import end, on, until, wish
from tests.updates.local import BAD, Site

pytestmark = pytest.mark.usefixtures("impatient")


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
