"""What the journal keeps, what it forgets and never too early, what it does without a disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.errors import DiskFullError
from agent.fleet.commands.entry import Entry, Key, digest_of
from agent.fleet.commands.expiry import Deadline
from agent.fleet.commands.journal import Journal
from agent.fleet.commands.keeping import DAY_S, HOUR_S, Keeping, keeping_for
from agent.fleet.commands.states import State

FOREVER = Deadline(expires_at=None, left_s=None, arrived_up_s=0, arrived_wall_s=0, boot="b")


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def entry(id: str, **more: object) -> Entry:
    fields: dict[str, object] = {"key": Key("note", id), "digest": digest_of(id.encode()), "state": State.QUEUED}
    return Entry(**{**fields, "deadline": FOREVER, "request": b"{}", **more})  # type: ignore[arg-type]


def ended(journal: Journal, id: str, *, said: bool = True, **more: object) -> Entry:
    (added,) = journal.add([entry(id, **more)])
    begun = journal.begin(added.seq, "i", durable=False)
    done = begun.ended(State.SUCCESSFUL, result=b'{"r":"' + b"x" * 1000 + b'"}')
    journal.finish(done)
    if said:
        journal.said(done.seq, State.SUCCESSFUL, 0)
    return done


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "commands.db"


def test_everything_comes_back_as_it_was(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock)
    deadline = Deadline(expires_at=2e9, left_s=60.5, arrived_up_s=3.25, arrived_wall_s=1.9e9, boot="boot")
    asked = entry(
        "ü", deadline=deadline, packet_id=7, response_topic="a/b", correlation=b"\0\xff", granted_s=1.5, instance="x/y"
    )
    (added,) = journal.add([asked])
    journal.close()
    again = Journal(path, clock=clock)
    again.open()
    assert again.read(added.seq) == added
    assert again.unfinished() == [added]
    assert path.stat().st_mode & 0o077 == 0


def test_an_end_is_final(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock)
    done = ended(journal, "1")
    journal.finish(done.ended(State.FAILED, reason="no", code="no"))
    with pytest.raises(sqlite3.IntegrityError, match="stays so"):
        journal._ready().execute("UPDATE commands SET state = 3")
    found = journal.read(done.seq)
    assert found is not None
    assert found.state is State.SUCCESSFUL


def test_the_same_command_cannot_be_added_twice(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock)
    journal.add([entry("1")])
    with pytest.raises(Exception, match="UNIQUE"):
        journal.add([entry("2"), entry("1")])
    assert [found.key.id for found in journal.unfinished()] == ["1"]


def test_only_the_end_of_an_old_command_is_kept_and_it_is_known_still(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock, keeping=Keeping(details=2))
    first = ended(journal, "1")
    clock.now += HOUR_S + 1
    for id in ("2", "3", "4"):
        ended(journal, id)
    journal.prune()
    assert journal.read(first.seq) is None
    known = journal.find([first.key])[first.key]
    assert (known.state, known.seq) == (State.SUCCESSFUL, None)
    assert all(journal.find([Key("note", id)])[Key("note", id)].seq for id in ("2", "3", "4"))
    clock.now += Keeping().remember_s - 1
    journal.prune()
    assert journal.find([first.key])
    clock.now += Keeping().remember_s + 1  # since it came last
    journal.prune()
    assert not journal.find([first.key])


def test_a_clock_that_jumps_makes_nothing_old(path: Path) -> None:
    """The journal's time is that of its own running; only starts and the monotonic clock's zero lie between."""
    for start in (10.0, 9e9, 5.0):
        clock = Clock()
        clock.now = start
        journal = Journal(path, clock=clock, keeping=Keeping(details=0))
        journal.open()
        ended(journal, f"at {start}")
        clock.now += 100
        journal.prune()
        assert journal.now_s <= 301
        assert len(journal.find([Key("note", f"at {start}")])) == 1
        journal.close()


def test_what_the_broker_has_not_confirmed_is_never_dropped(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock, keeping=Keeping(details=0, detail_bytes=0))
    unsaid = ended(journal, "unsaid", said=False)
    (waiting,) = journal.add([entry("waiting")])
    ended(journal, "said")
    clock.now += 100 * DAY_S
    journal.prune()
    found = journal.read(unsaid.seq)
    assert found is not None
    assert found.result == unsaid.result
    assert journal.unsaid(0, 10) == [found]
    assert journal.unfinished() == [waiting]


def test_details_are_bounded_in_bytes_and_the_newest_stay(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock, keeping=Keeping(detail_bytes=5_000))
    entries = [ended(journal, str(number)) for number in range(20)]
    journal.prune()
    kept = [found is not None and found.result is not None for one in entries for found in [journal.read(one.seq)]]
    assert kept == [False] * 16 + [True] * 4


def test_a_full_journal_takes_nothing_rather_than_forget(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock, keeping=Keeping(details=0, remembered=10))
    for number in range(10):
        ended(journal, str(number))
        clock.now += HOUR_S + 1
        journal.prune()
    with pytest.raises(DiskFullError, match="remember 10"):
        journal.add([entry("new")])
    assert len(journal.find([Key("note", str(number)) for number in range(10)])) == 10
    clock.now += 14 * DAY_S
    journal.prune()
    journal.add([entry("new")])


def test_requests_are_remembered_for_an_hour(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock, keeping=Keeping(details=0))
    digest = digest_of(b"{}", "a", b"c")
    ended(journal, "r", key=Key("note", "r", rpc=True), digest=digest, packet_id=3)
    for passed_s, known in ((HOUR_S + 1, True), (HOUR_S - 2, True), (3.0, False)):
        clock.now += passed_s
        journal.prune()
        assert (journal.find_request("note", digest, 3) is not None) == known
        assert journal.find_request("note", digest, 4) is None
        assert journal.find_request("other", digest, 3) is None


def test_a_file_of_its_own_size_never_grows_beyond_its_limit(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock, keeping=Keeping(limit_bytes=200_000))
    refused: list[str] = []
    for number in range(100):
        try:
            journal.add([entry(str(number), request=b"x" * 3000)])
        except DiskFullError as error:
            refused.append(str(error))
    for taken in journal.unfinished():  # there is room for how they end
        journal.finish(journal.begin(taken.seq, "i", durable=True).ended(State.SUCCESSFUL, result=b"x" * 500))
    journal.close()
    assert path.stat().st_size <= 200_000
    assert 0 < len(refused) < 100
    assert all("journal is full" in reason for reason in refused)


@pytest.mark.parametrize("damage", ["text", "middle", "schema", "other database"])
def test_a_damaged_file_is_set_aside_and_said(path: Path, clock: Clock, damage: str) -> None:
    journal = Journal(path, clock=clock)
    for number in range(50):
        ended(journal, str(number))
    journal.close()
    data = bytearray(path.read_bytes())
    if damage == "text":
        data = bytearray(b"this is no database, and never was one\n" * 100)
    elif damage == "middle":
        data[4096:] = b"\xa5" * (len(data) - 4096)
    elif damage == "schema":
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE remembered")
    else:
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE other (a)")
    if damage in ("text", "middle"):
        path.write_bytes(data)
    before = path.read_bytes()
    again = Journal(path, clock=clock)
    again.open()
    again.find([Key("note", "1")])
    loss = again.loss()
    assert loss is not None
    assert "commands.db.damaged-1" in loss
    assert path.with_name("commands.db.damaged-1").read_bytes() == before
    again.add([entry("new")])
    again.loss_said()
    again.close()
    last = Journal(path, clock=clock)
    assert (last.loss(), [found.key.id for found in last.unfinished()]) == (None, ["new"])


def test_what_is_under_way_outlives_the_damage(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock)
    added = journal.add([entry(str(number), request=b"x" * 5000) for number in range(30)])
    begun = journal.begin(added[0].seq, "i", durable=True)
    journal._ready().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal._ready().execute("PRAGMA shrink_memory")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    journal.finish(begun.ended(State.SUCCESSFUL, result=b"{}"))
    assert journal.losses == 1
    assert [found.key for found in journal.unfinished()] == [one.key for one in added[1:]]
    found = journal.read(begun.seq)
    assert found is not None
    assert found.state is State.SUCCESSFUL


def test_only_a_few_damaged_files_are_kept(path: Path, clock: Clock) -> None:
    for number in range(5):
        path.write_text(f"damage {number} " * 100)
        journal = Journal(path, clock=clock)
        journal.open()
        journal.close()
    left = sorted(file.name for file in path.parent.glob("*.damaged-*"))
    assert left == [f"commands.db.damaged-{number}" for number in (1, 2, 3)]
    assert "damage 4" in path.with_name("commands.db.damaged-1").read_text()


def test_a_newer_version_s_file_is_left_alone(path: Path, clock: Clock) -> None:
    journal = Journal(path, clock=clock)
    journal.add([entry("1")])
    journal._ready().execute("PRAGMA user_version = 99")
    journal.close()
    with pytest.raises(Exception, match="newer version"):
        Journal(path, clock=clock).open()
    assert list(path.parent.glob("*.damaged-*")) == []


def test_what_still_comes_is_still_known_after_any_time(path: Path, clock: Clock) -> None:
    """A retained command whose answer the broker does not let the device write comes at each connect, for ever."""
    journal = Journal(path, keeping=Keeping(details=0), clock=clock)
    key = ended(journal, "1").key
    for _ in range(10):
        clock.now += 10 * DAY_S
        journal.prune()
        assert journal.find([key])[key].state is State.SUCCESSFUL
    clock.now += 15 * DAY_S
    journal.prune()
    assert journal.find([key]) == {}


@pytest.mark.parametrize(
    ("session_expiry_s", "days"), [(0, 14), (7 * DAY_S, 14), (30 * DAY_S, 60), (4_294_967_294, 99_420)]
)
def test_a_command_is_known_for_longer_than_the_broker_can_keep_it(session_expiry_s: float, days: float) -> None:
    assert keeping_for(session_expiry_s).remember_s == pytest.approx(days * DAY_S, abs=DAY_S)
