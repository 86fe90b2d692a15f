from __future__ import annotations

import random
import zlib
from pathlib import Path

import msgspec
import pytest

from agent.errors import PublishRefusedError, TooLargeError
from agent.fleet.telemetry.sample import Kind
from tests.fleet.telemetry.device import TOPICS, device, until

M, E, A = Kind.MEASUREMENT, Kind.EVENT, Kind.ALARM


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "o.db"


async def test_each_type_on_its_topic_many_samples_in_a_message(path: Path) -> None:
    async with device(path, connected=False) as d:
        await d.record(*range(100))
        await d.record(1, 2, type="model", kind=E)
        await d.record(1, type="alarm", kind=A)
        d.sender.connected()
        await until(lambda: d.outbox.state.memory_samples == 0 and len(d.link.taken) == 3)
        topics = [publication.topic for publication in d.link.taken]
        assert sorted(topics) == [TOPICS.event("alarm"), TOPICS.event("model"), TOPICS.measurement("board")]
        assert d.link.seqs() == list(range(1, 101))
        (message,) = d.link.of(TOPICS.measurement("board"))
        assert [sample["n"] for sample in message["samples"]] == list(range(100))
        assert (message["boot"], message["log"], message["up"]) == ("boot-1", d.outbox.log, 1000)
        assert message["clock"] + message["samples"][0]["up"] == d.time.wall_s


async def test_messages_are_no_longer_than_asked_for_and_than_the_link_takes(path: Path) -> None:
    async with device(path, connected=False, message_bytes=1000) as d:
        await d.record(*range(100))
        d.sender.connected()
        await until(lambda: len(d.link.seqs()) == 100)
        assert max(len(one.payload) for one in d.link.taken) <= 1000
        d.link.room = 500
        await d.record(*range(100))
        await until(lambda: len(d.link.seqs()) == 200)
        assert max(len(one.payload) for one in d.link.taken[-20:]) <= 500
        assert d.link.seqs() == list(range(1, 201))


async def test_while_the_link_is_down_nothing_is_tried_and_all_comes_after(path: Path) -> None:
    async with device(path) as d:
        d.link.up = False
        await d.record(1)
        await d.settled()  # the first attempt fails, and is the last
        await d.record(2, 3)
        await d.later(1)
        assert d.link.tried == []
        d.link.up = True
        d.sender.connected()
        await until(lambda: d.link.seqs() == [1, 2, 3])


async def test_a_gap_is_told(path: Path) -> None:
    async with device(path, connected=False) as d:
        await d.record(*range(10))
        d.outbox.line("board").drop({1, 2, 3, 7})  # type: ignore[union-attr]
        d.sender.connected()
        await until(lambda: len(d.link.taken) == 2)
        first, second = d.link.of(TOPICS.measurement("board"))
        assert (first["seq"], first["missing"], len(first["samples"])) == (4, 3, 3)
        assert (second["seq"], second["missing"], len(second["samples"])) == (8, 1, 3)


async def test_with_acknowledgements_nothing_is_forgotten_before_the_consumer_has_it(path: Path) -> None:
    async with device(path, acknowledge=True) as d:
        await d.record(1, 2, 3)
        await until(lambda: d.link.seqs() == [1, 2, 3])
        assert d.outbox.state.samples == 3
        d.acknowledge(2)
        assert d.outbox.state.samples == 1
        d.acknowledge(3, log="another")
        assert d.outbox.state.samples == 1
        d.acknowledge(3, log=d.outbox.log)
        assert d.outbox.state.samples == 0


async def test_a_silent_consumer_gets_it_again_in_order(path: Path) -> None:
    async with device(path, acknowledge=True, acknowledge_s=30) as d:
        await d.record(1)
        await until(lambda: d.link.seqs() == [1])
        await d.record(2)
        await until(lambda: d.link.seqs() == [1, 2])
        await d.later(29)
        assert d.link.seqs() == [1, 2]
        await d.later(2)
        await until(lambda: d.link.seqs() == [1, 2, 1, 2])
        d.acknowledge(2)
        await d.later(1000)
        assert d.link.seqs() == [1, 2, 1, 2]


async def test_no_more_than_the_window_waits_for_the_consumer(path: Path) -> None:
    async with device(path, connected=False, acknowledge=True, window=2, message_bytes=400) as d:
        await d.record(*range(30))
        d.sender.connected()
        await d.settled()
        assert len(d.link.taken) == 2
        d.acknowledge(d.link.seqs()[-1])
        await until(lambda: len(d.link.taken) == 4)
        assert d.link.seqs() == sorted(d.link.seqs())


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b"[]", b"null", b'{"type":"board"}', b'{"type":"board","seq":"2"}', b'{"type":"nothing","seq":2}',
        b'{"type":"board","seq":-5}', b'{"type":"board","seq":1e400}', b"\xff\xfe", b'{"type":["board"],"seq":2}',
    ],
)  # fmt: skip
async def test_an_acknowledgement_that_is_none_changes_nothing(path: Path, payload: bytes) -> None:
    async with device(path, acknowledge=True) as d:
        await d.record(1, 2)
        await until(lambda: d.link.seqs() == [1, 2])
        d.sender.acknowledged(payload)
        assert d.outbox.state.samples == 2


async def test_what_was_never_sent_cannot_be_acknowledged_away(path: Path) -> None:
    async with device(path, connected=False, acknowledge=True) as d:
        await d.record(1, 2)
        d.acknowledge(2**62)
        d.sender.connected()
        await until(lambda: d.link.seqs() == [1, 2])
        d.link.up = False
        await d.record(3)
        d.acknowledge(2**62)
        assert d.outbox.state.samples == 1


async def test_a_message_lost_with_the_connection_comes_again_and_before_those_behind_it(path: Path) -> None:
    async with device(path) as d:
        d.link.hold = True
        await d.record(1, 2)
        await until(lambda: len(d.link.tried) == 1)
        d.sender.disconnected()
        d.sender.connected()  # a new connection stands before the old one's message has failed
        await d.record(3)
        d.link.release()
        await until(lambda: d.outbox.state.samples == 0)
        assert d.link.seqs() == [1, 2, 1, 2, 3]


async def test_a_message_that_is_too_large_is_halved_and_a_sample_that_is_too_large_dropped(path: Path) -> None:
    async with device(path, connected=False) as d:
        await d.record(*range(64))
        d.link.answers = [TooLargeError("no"), TooLargeError("no")]
        d.sender.connected()
        await until(lambda: len(d.link.seqs()) == 64)
        assert d.link.seqs() == list(range(1, 65))
        d.link.answers = [TooLargeError("no")]
        await d.record(100)
        await d.settled()
        await d.record(101)
        await until(lambda: d.link.seqs()[-1] == 66)
        assert d.link.of(TOPICS.measurement("board"))[-1]["missing"] == 1
        assert d.outbox.state.dropped == {"board": 1}


@pytest.mark.parametrize(("temporary", "pause_s"), [(True, 2), (False, 60)])
async def test_a_refusal_is_tried_again_later_and_holds_up_nothing_else(
    path: Path, temporary: bool, pause_s: float
) -> None:
    async with device(path) as d:
        d.link.answers = [PublishRefusedError("not you", temporary=temporary)]
        await d.record(1)
        await d.settled()
        await d.record(1, type="engine")
        await until(lambda: d.link.seqs("engine") == [1])
        await d.later(pause_s - 0.5)
        assert d.link.seqs() == []
        await d.later(1)
        await until(lambda: d.link.seqs() == [1])


async def test_measurements_wait_for_company_if_asked_to_events_do_not(path: Path) -> None:
    async with device(path, batch_s=10) as d:
        await d.record(1)
        await d.record(1, type="model", kind=E)
        await d.later(9)
        await d.record(2)
        assert d.link.seqs() == []
        assert len(d.link.of(TOPICS.event("model"))) == 1
        await d.later(1)
        await until(lambda: d.link.seqs() == [1, 2])
        assert len(d.link.of(TOPICS.measurement("board"))) == 1


async def test_deflated_messages_say_so(path: Path) -> None:
    async with device(path, connected=False, deflate=True) as d:
        await d.record(*range(100))
        d.sender.connected()
        await until(lambda: d.outbox.state.samples == 0)
        (publication,) = d.link.taken
        assert publication.content_type == "application/json+deflate"
        assert len(msgspec.json.decode(zlib.decompress(publication.payload))["samples"]) == 100


async def test_one_sample_in_a_message_for_thin_edge(path: Path) -> None:
    async with device(path, format="thin-edge") as d:
        await d.record(5, 6)
        await until(lambda: len(d.link.taken) == 2)
        time = d.time.wall_s
        assert d.link.of(TOPICS.measurement("board")) == [
            {"time": time, "seq": 1, "n": 5.0},
            {"time": time, "seq": 2, "n": 6.0},
        ]


async def test_raised_alarms_are_retained_cleared_and_said_again_on_each_connect(path: Path) -> None:
    async with device(path) as d:
        topic = TOPICS.alarm("too_hot")
        d.raised.become({"too_hot": b'{"text":"hot"}'})
        d.outbox.arrived.set()
        await until(lambda: len(d.link.taken) == 1)
        d.raised.become({})
        d.outbox.arrived.set()
        await until(lambda: len(d.link.taken) == 2)
        d.sender.connected()
        await until(lambda: len(d.link.taken) == 3)
        assert [(one.topic, one.payload, one.retain) for one in d.link.taken] == [
            (topic, b'{"text":"hot"}', True),
            (topic, b"", True),
            (topic, b"", True),
        ]


async def test_a_database_made_anew_while_it_runs_begins_another_numbering(path: Path) -> None:
    async with device(path, connected=False) as d:
        for n in range(1000):  # more than SQLite keeps in memory
            d.outbox.record(M, "board", {"n": n, "x": random.Random(n).randbytes(2000).hex()})
            await d.outbox.maintain()
        log, topic = d.outbox.log, TOPICS.measurement("board")
        _overwrite(path)
        d.sender.connected()
        await until(lambda: d.outbox.state.trouble is not None)
        await d.outbox.maintain()
        assert d.outbox.log != log
        await d.record(7)
        await until(lambda: bool(d.link.taken) and d.link.of(topic)[-1]["samples"][-1].get("n") == 7)
        assert d.link.of(topic)[-1]["log"] == d.outbox.log


def _overwrite(path: Path) -> None:
    for file in (path, path.with_name(f"{path.name}-wal")):
        with file.open("r+b") as opened:
            opened.seek(4096)
            opened.write(b"\xa5" * max(0, file.stat().st_size - 4096))
