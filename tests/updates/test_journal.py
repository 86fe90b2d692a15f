from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import DiskFullError, StoreError, UnavailableError
from agent.updates import journal as journals
from agent.updates.database import JOURNAL
from agent.updates.journal import Journal
from agent.updates.parts import Health
from agent.updates.policy import Terms
from agent.updates.record import Record
from agent.updates.states import IllegalMoveError, Move, State


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "updates.db", wall=lambda: 1000.0)
    journal.open()
    return journal


def again(journal: Journal) -> Journal:
    """As the next process finds it."""
    journal.close()
    return Journal(journal.path, wall=lambda: 2000.0)


def wanted(**changes: object) -> Record:
    return Record(**{"name": "m", "target": "2", "origin": "desired", **changes})  # type: ignore[arg-type]


def test_a_record_comes_back_as_it_was(journal: Journal) -> None:
    added = journal.add(wanted(rev="12", terms=Terms(urgent=True, attempts=3)))
    full = journal.move(
        added,
        Move.RESOLVE,
        version="2",
        digest="ab" * 32,
        reason="so",
        adopted=True,
        previous="1",
        attempts=2,
        retry_at=1.5,
        interruptions=1,
        bytes_done=1,
        bytes_total=2,
        bytes_missing=3,
        bytes_fetched=4,
        bytes_best=5,
        figures={"speed": 1.5, "words": ["a"]},
        served_s=2.5,
        health=Health(requests_ok=1, requests_failed=2, crashes=3),
    )
    assert again(journal).unfinished() == [full]


def test_a_move_begins_the_attempts_anew(journal: Journal) -> None:
    added = journal.add(wanted())
    journal.note(replace(added, attempts=2, retry_at=5.0, interruptions=1, reason="no answer"))
    after = journal.move(journal.unfinished()[0], Move.RESOLVE)
    assert (after.attempts, after.retry_at, after.interruptions, after.reason) == (0, None, 0, "")


def test_an_illegal_move_changes_nothing(journal: Journal) -> None:
    added = journal.add(wanted())
    with pytest.raises(IllegalMoveError):
        journal.move(added, Move.SWITCH)
    assert journal.unfinished() == [added]
    assert journal.moves(added.id) == []


def test_an_end_is_final_also_for_the_database(journal: Journal) -> None:
    ended = journal.move(journal.add(wanted()), Move.GIVE_UP, reason="nobody answers")
    assert journal.unfinished() == []
    assert journal.recent() == [ended]
    with pytest.raises(StoreError):
        journal.note(replace(ended, state=State.WANTED))


def test_moves_tell_the_story(journal: Journal) -> None:
    record = journal.add(wanted())
    for move, why in ((Move.RESOLVE, ""), (Move.FETCH, ""), (Move.ADOPT, ""), (Move.REFUSE, "too slow")):
        record = journal.move(record, move, reason=why)
    assert [(move, state, why) for _, move, state, why in again(journal).moves(record.id)] == [
        (Move.RESOLVE, State.FETCHING, ""),
        (Move.FETCH, State.STAGED, ""),
        (Move.ADOPT, State.TRYING, ""),
        (Move.REFUSE, State.REJECTING, "too slow"),
    ]


def test_what_is_refused_is_remembered_in_the_same_commit(journal: Journal) -> None:
    record = journal.move(journal.add(wanted()), Move.PRESENT, version="2", digest="cd" * 32)
    journal.move(record, Move.REFUSE, reason="too slow")
    (bad,) = again(journal).rejections()
    assert (bad.digest, bad.name, bad.version, bad.reason) == ("cd" * 32, "m", "2", "too slow")


def test_what_is_cancelled_is_not_rejected(journal: Journal) -> None:
    record = journal.move(journal.add(wanted()), Move.PRESENT, version="2", digest="cd" * 32)
    journal.move(record, Move.WITHDRAW)
    assert journal.rejections() == []


def test_a_rejected_one_can_be_forgiven(journal: Journal) -> None:
    record = journal.move(journal.add(wanted()), Move.PRESENT, version="2", digest="cd" * 32)
    journal.move(record, Move.REFUSE)
    journal.forgive("cd" * 32)
    assert again(journal).rejections() == []


def test_bytes_are_counted_by_day(journal: Journal) -> None:
    record = journal.add(wanted())
    for day, count in (("2026-05-20", 10), ("2026-05-20", 5), ("2026-05-21", 7)):
        journal.note(record, day=day, spent_bytes=count)
    found = again(journal)
    assert [found.spent_bytes(f"2026-05-{day}") for day in (19, 20, 21)] == [0, 15, 7]


def test_facts(journal: Journal) -> None:
    journal.set_fact("desired", b"{}")
    journal.set_fact("stopped", 1)
    journal.set_fact("stopped", None)
    found = again(journal)
    assert found.fact("desired") == b"{}"
    assert found.fact("stopped") is None


def test_it_does_not_grow_without_end(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEPT_UPDATES", "KEPT_REJECTED", "KEPT_DAYS"):
        monkeypatch.setattr(journals, name, 2)
    waiting = journal.add(wanted())
    for index in range(5):
        record = journal.move(journal.add(wanted()), Move.PRESENT, version=str(index), digest=str(index))
        record = journal.move(record, Move.REFUSE)
        journal.move(record, Move.CLEAN)
        journal.note(waiting, day=f"2026-05-0{index}", spent_bytes=1)
    journal.add(wanted())
    assert len(journal.recent(99)) == 2
    assert journal.unfinished()[0] == waiting
    assert len(journal.rejections()) == 2
    assert journal.spent_bytes("2026-05-00") == 0


@pytest.mark.parametrize("damage", [b"this is no database", b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "updates.db"
    path.write_bytes(damage)
    journal = Journal(path)
    journal.open()
    assert journal.unfinished() == []
    assert "set aside as updates.db.damaged-1" in (journal.loss or "")
    assert (tmp_path / "updates.db.damaged-1").read_bytes() == damage


def test_another_program_s_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "updates.db"
    sqlite3.connect(path).execute("CREATE TABLE theirs (x)").connection.close()
    journal = Journal(path)
    journal.open()
    assert journal.loss


def test_a_newer_version_s_journal_is_left_alone(journal: Journal) -> None:
    journal.close()
    connection = sqlite3.connect(journal.path)
    connection.execute(f"PRAGMA user_version = {len(JOURNAL.migrations) + 1}")
    connection.close()
    with pytest.raises(StoreError, match="newer version"):
        journal.open()


def test_a_journal_that_another_process_holds(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.sqlite.BUSY_S", 0.01)
    other = Journal(journal.path)
    other.open()
    assert journal._connection is not None
    journal._connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError):
        other.add(wanted())


def test_a_full_disk(journal: Journal) -> None:
    assert journal._connection is not None
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    records = iter(lambda: journal.add(wanted(reason="x" * 900)), None)
    with pytest.raises(DiskFullError):
        list(zip(range(1000), records, strict=False))
    count = len(journal.unfinished())
    assert count == len(again(journal).unfinished())
