"""`edge-agent fleet rollout` as a person and as a program sees it."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import build_parser
from agent.commands import rollout_view
from agent.commands.fleet_rollout import plan_of
from agent.commands.rollout_view import LineView, RolloutView, ScreenView, screen, summary
from agent.errors import ConfigError
from agent.fleet.remote.rolling import Look
from agent.fleet.remote.rollout import Member, Plan, Share, judge
from agent.fleet.remote.standing import Standing
from benchmarks.mqtt.rollout_devices import MODEL, NEW, OLD, made, updating
from tests.commands.test_fleet import Fleet
from tests.fleet.broker import Broker

WANTED = f"{MODEL}@{NEW}"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as started:
        yield started


def plan(*words: str) -> Plan:
    return plan_of(build_parser().parse_args(["fleet", "rollout", *words]))


def look(what: Plan, *standings: Standing, away_s: float | None = None) -> Look:
    members = tuple(
        Member(name=f"d{number}", standing=one, asked=True, stage="50%", reason="\x1b[2J" if one.bad else "")
        for number, one in enumerate(standings)
    )
    if away_s is not None:
        members = (
            *members,
            Member(name="attic", standing=Standing.ASKED, asked=True, reason="it is down", away_s=away_s),
        )
    return Look(decision=judge(what, members), members=members)


@pytest.mark.parametrize(
    ("words", "stages", "limit"),
    [
        ((), "5% 25% 100%", "2%"),
        (("--canary", "1"), "1", "2%"),
        (("--canary", "5%", "--then", "25%", "--then", "100%", "--stop-if-failed", "3"), "5% 25% 100%", "3"),
    ],
)
def test_what_is_typed_becomes_a_plan(words: tuple[str, ...], stages: str, limit: str) -> None:
    found = plan("qwen@2.0", *words)
    assert (" ".join(map(str, found.stages)), str(found.limit), found.label) == (stages, limit, "qwen@2.0")


@pytest.mark.parametrize(
    "words", [("qwen",), ("qwen@",), ("@2",), ("a/b@2",), ("qwen@2", "--canary", "x"), ("qwen@2", "--then", "0%")]
)
def test_what_is_no_plan(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        plan(*words)


def test_the_table_of_a_terminal() -> None:
    what = plan("qwen@2", "--canary", "50%", "--then", "100%", "--stop-if-failed", "100%")
    shown = list(screen(what, look(what, Standing.COMMITTED, Standing.REJECTED, Standing.WORKING, away_s=61.0)))
    assert shown == [
        "qwen@2, 4 devices: going on in the stage of 50%",
        "STAGE  DEVICES  COMMITTED  UNDER WAY  NOT THERE  FAILED  OVERRULED  NOT ASKED",
        "50%          2          1          0          0       1          0          0",
        "100%         2          0          1          1       0          0          0",
        "d1: rejected: \\x1b[2J",
    ]
    shown = list(screen(what, look(what, Standing.COMMITTED, Standing.COMMITTED, Standing.COMMITTED, away_s=64.0)))
    assert shown[-1] == "not there for 60 s of 10 min: attic (it is down)"


def test_what_devices_wait_for_is_said_once_for_all_of_them() -> None:
    what = plan("qwen@2", "--canary", "100%")
    reasons = ["window opens 02:00", "the battery is at 9%, 30% are needed", "window opens 02:00", ""]
    members = tuple(
        Member(name=f"d{number}", standing=Standing.WORKING, asked=True, stage="100%", reason=reason)
        for number, reason in enumerate(reasons)
    )
    shown = list(screen(what, Look(decision=judge(what, members), members=members)))
    assert shown[3:] == [
        "waiting: window opens 02:00: d0, d2",
        "waiting: the battery is at 9%, 30% are needed: d1",
    ]


def test_it_is_drawn_over_what_stood_there(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    what = plan("qwen@2", "--canary", "50%", "--then", "100%")
    view = ScreenView(what)
    view.show(look(what, Standing.ASKED, Standing.UNASKED))
    first = out.getvalue()
    view.show(look(what, Standing.ASKED, Standing.UNASKED))
    assert out.getvalue() == first, "nothing new, nothing drawn"
    view.show(look(what, Standing.WORKING, Standing.COMMITTED))
    assert out.getvalue().removeprefix(first).startswith("\x1b[4A\r\x1b[J")


@pytest.mark.parametrize(
    ("standings", "expected"),
    [
        ([Standing.COMMITTED] * 2, "qwen@2: 2 of 2 devices run it."),
        (
            [Standing.FAILED, Standing.PROBATION],
            "qwen@2: 0 of 2 devices run it. Stopped in the stage of 50%: 1 of 2 devices failed, the limit is 2%."
            " What had not begun was withdrawn, the others run what they ran before. Failed: d0. On probation: d1.",
        ),
    ],
)
def test_the_last_sentence(standings: list[Standing], expected: str) -> None:
    what = plan("qwen@2", "--canary", "50%", "--then", "100%")
    assert summary(what, look(what, *standings)) == expected


def test_lines_name_each_failure_once(capsys: pytest.CaptureFixture[str]) -> None:
    what = plan("qwen@2", "--canary", "100%", "--stop-if-failed", "100%")
    view: RolloutView = LineView(what)
    for second in (Standing.WORKING, Standing.REJECTED, Standing.REJECTED):
        view.show(look(what, Standing.COMMITTED, second))
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("d1: rejected: \\x1b[2J") == 1
    assert lines[:2] == ["qwen@2: 2 devices, stages 100%", "stage 100%: 2 devices"]


async def test_a_fleet_gets_a_version_and_names_who_did_not(broker: Broker, fleet: Fleet) -> None:
    async with updating(broker.port, made(8, {"rejecting": 1})) as devices:
        done = await fleet(broker, "rollout", WANTED, "--canary", "25%", "--then", "100%", "--stop-if-failed", "60%")
        bad = next(device for device in devices if device.behavior == "rejecting")
        assert done.status == 1
        assert f"{bad.device}: rejected: It is too slow." in done.out
        assert f"qwen@{NEW}: 7 of 8 devices run it. Failed: {bad.device}." in done.err
        assert sorted(device.active for device in devices) == [OLD] + [NEW] * 7


async def test_json_lines_for_programs(broker: Broker, fleet: Fleet) -> None:
    async with updating(broker.port, made(4, {})):
        done = await fleet(broker, "rollout", WANTED, "--canary", "1", "--then", "100%", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert done.status == 0
    assert [line["stage"] for line in lines if "counts" in line] == ["1", "100%", "100%"]
    assert lines[-1]["phase"] == "done"
    assert lines[-1]["counts"] == {"committed": 4}
    last = {line["device"]: line["standing"] for line in lines if "device" in line}
    assert set(last.values()) == {"committed"}
    assert len(last) == 4


async def test_who_interrupts_it_is_told_what_goes_on(broker: Broker, fleet: Fleet) -> None:
    async with updating(broker.port, made(2, {"waiting": 2})):
        process = await fleet.start(broker, "rollout", WANTED, "--json")
        assert process.stdout is not None
        while b"under way" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        done = await fleet.end(process)
    assert "The same command goes on from there, --cancel withdraws." in done.err
    assert done.status != 0


@pytest.mark.parametrize(("share", "size"), [("50%", 2), ("1", 1)])
def test_stages_in_the_table_add_up(share: str, size: int) -> None:
    what = plan("qwen@2", "--canary", share, "--then", "100%")
    rows = list(rollout_view.rows(what, look(what, *[Standing.COMMITTED] * 4)))
    assert [int(row[1]) for row in rows] == [size, 4 - size]
    assert Share.parse(share).of(4) == size
