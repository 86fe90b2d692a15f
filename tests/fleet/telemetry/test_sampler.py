from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.fleet.telemetry.alarms import Rule
from agent.fleet.telemetry.deadband import Deadband
from agent.fleet.telemetry.outbox import Outbox
from agent.fleet.telemetry.raised import RaisedAlarms
from agent.fleet.telemetry.rules import Measured
from agent.fleet.telemetry.sample import Kind, Values
from agent.fleet.telemetry.sampler import Sampler
from agent.fleet.telemetry.source import Event, Look, Reading
from agent.fleet.telemetry.state import OutboxLimits
from tests.fleet.telemetry.device import TOPICS, ScriptedLink, Time, until
from tests.fleet.telemetry.test_outbox import drained

RULES = (
    Rule(
        name="hot", reading="celsius", severity="major", raise_at=80, clear_at=75, raise_s=30, clear_s=30,
        text="{value:.0f} °C, limit {limit:.0f}, {detail}",
    ),
)  # fmt: skip
MEASURED = {"board": Measured(interval_s=60, heartbeat_s=600, bands={"celsius": Deadband(absolute=2)})}


@dataclass
class Board:
    type: str = "board"
    celsius: float | None = 50.0
    fails: bool = False
    events: list[Event] = field(default_factory=list)

    async def read(self) -> Values:
        if self.fails:
            raise OSError("sensor")
        return {"celsius": self.celsius}

    async def look(self) -> Look:
        if self.fails:
            raise OSError("sensor")
        events, self.events = self.events, []
        return Look({"celsius": Reading(self.celsius, "sun")}, events)


@asynccontextmanager
async def sampling(path: Path, time: Time, board: Board) -> AsyncIterator[tuple[Sampler, Outbox, RaisedAlarms]]:
    outbox = Outbox(path, clock=time.clock, limits=OutboxLimits())
    await outbox.open()
    raised = RaisedAlarms(TOPICS, ["hot"])
    yield _sampler(outbox, raised, time, [board]), outbox, raised
    await outbox.close()


def _sampler(outbox: Outbox, raised: RaisedAlarms, time: Time, sources: Sequence[Board]) -> Sampler:
    return Sampler(sources, outbox, measured=MEASURED, rules=RULES, raised=raised, watch_s=15, clock=time.clock)


async def steps(sampler: Sampler, outbox: Outbox, time: Time, seconds: float) -> None:
    """Time passes, from one thing that is due to the next."""
    end = time.up_s + seconds
    while time.up_s < end:
        wait_s = await sampler.step()
        await outbox.maintain()
        time.pass_s(min(wait_s, end - time.up_s))


async def test_a_quiet_board_records_only_heartbeats(tmp_path: Path) -> None:
    time, board = Time(), Board()
    async with sampling(tmp_path / "o.db", time, board) as (sampler, outbox, _):
        await steps(sampler, outbox, time, 3600)
        found = await drained(outbox, "board")
        assert [values["up"] - 1000 for _, values in found] == [0, 600, 1200, 1800, 2400, 3000]


async def test_a_change_is_recorded_at_the_next_look(tmp_path: Path) -> None:
    time, board = Time(), Board()
    async with sampling(tmp_path / "o.db", time, board) as (sampler, outbox, _):
        await steps(sampler, outbox, time, 65)
        board.celsius = 60
        await steps(sampler, outbox, time, 120)
        assert [values["celsius"] for _, values in await drained(outbox, "board")] == [50, 60]


async def test_what_was_forgotten_is_recorded_anew_once_a_minute_at_most(tmp_path: Path) -> None:
    time, board = Time(), Board()
    async with sampling(tmp_path / "o.db", time, board) as (sampler, outbox, _):
        await steps(sampler, outbox, time, 7)
        for _ in range(5):  # a flood
            sampler.refresh()
            await steps(sampler, outbox, time, 5)
        await steps(sampler, outbox, time, 200)
        assert [values["up"] - 1000 for _, values in await drained(outbox, "board")] == [0, 7, 67]


async def test_an_alarm_is_raised_once_kept_over_a_restart_and_cleared(tmp_path: Path) -> None:
    time, board, link = Time(), Board(celsius=90), ScriptedLink()
    async with sampling(tmp_path / "o.db", time, board) as (sampler, outbox, raised):
        await steps(sampler, outbox, time, 120)
        await raised.publish(link)
        (retained,) = link.of(TOPICS.alarm("hot"))
        assert (retained["text"], retained["severity"]) == ("90 °C, limit 80, sun", "major")
    time.pass_s(1000)
    async with sampling(tmp_path / "o.db", time, board) as (sampler, outbox, raised):
        await steps(sampler, outbox, time, 120)
        await raised.publish(link)
        assert link.of(TOPICS.alarm("hot")) == [retained, retained]
        board.celsius = 60
        await steps(sampler, outbox, time, 120)
        await raised.publish(link)
        assert link.taken[-1].payload == b""
        history = [(values["alarm"], values["status"]) for _, values in await drained(outbox, "alarm")]
        assert history == [("hot", "raised"), ("hot", "cleared")]


async def test_events_are_kept(tmp_path: Path) -> None:
    time, board = Time(), Board(events=[Event("model", {"text": "ready"})])
    async with sampling(tmp_path / "o.db", time, board) as (sampler, outbox, _):
        await sampler.step()
        ((_, values),) = await drained(outbox, "model")
        assert values["text"] == "ready"
        assert outbox.line("model").kind is Kind.EVENT  # type: ignore[union-attr]


async def test_a_sensor_that_fails_costs_its_own_values_and_neither_raises_nor_clears(tmp_path: Path) -> None:
    time, board, other = Time(), Board(celsius=90), Board(type="engine")
    async with sampling(tmp_path / "o.db", time, board) as (_, outbox, raised):
        measured = {**MEASURED, "engine": MEASURED["board"]}
        sampler = Sampler(
            [board, other], outbox, measured=measured, rules=RULES, raised=raised, watch_s=15, clock=time.clock
        )
        other.celsius = None
        board.fails = True
        await steps(sampler, outbox, time, 300)
        assert outbox.line("board") is None or not await drained(outbox, "board")
        assert outbox.raised == {}
        assert await drained(outbox, "engine") == []  # nothing was known of it
        board.fails = False
        await steps(sampler, outbox, time, 60)
        assert len(await drained(outbox, "board")) == 1


async def test_run_can_be_cancelled(tmp_path: Path) -> None:
    time = Time()
    async with sampling(tmp_path / "o.db", time, Board()) as (sampler, outbox, _):
        task = asyncio.create_task(sampler.run())
        await until(lambda: outbox.line("board") is not None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert msgspec.json.decode((await drained_raw(outbox))[0])["celsius"] == 50


async def drained_raw(outbox: Outbox) -> list[bytes]:
    await outbox.maintain()
    run = await outbox.read("board", 0, 1000)
    assert run is not None
    return run.lines
