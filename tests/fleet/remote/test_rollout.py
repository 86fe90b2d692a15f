"""Who comes when, when it goes on, when it stops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.errors import ConfigError
from agent.fleet.remote.rollout import Member, Phase, Plan, Share, judge
from agent.fleet.remote.standing import Standing

NAMES = [f"d{number}" for number in range(20)]
LETTERS = {
    ".": Standing.UNASKED,
    "a": Standing.ASKED,
    "w": Standing.WORKING,
    "p": Standing.PROBATION,
    "C": Standing.COMMITTED,
    "R": Standing.REJECTED,
    "F": Standing.FAILED,
    "V": Standing.REVERTED,
    "o": Standing.OVERRULED,
    "-": Standing.ASKED,  # and not there for a while
    "x": Standing.ASKED,  # and waited for in vain
}


def plan(**more: Any) -> Plan:
    values: dict[str, Any] = {
        "model": "qwen",
        "version": "2",
        "stages": tuple(map(Share.parse, ("10%", "50%", "100%"))),
        "limit": Share.parse("20%"),
        "wait_s": 60.0,
    }
    return Plan(**{**values, **more})


def members(letters: str, stage: str | None = "10%") -> list[Member]:
    """One letter a device; those that were asked were asked in `stage`."""
    away = {"-": 5.0, "x": 61.0}
    return [
        Member(
            name=NAMES[place],
            standing=LETTERS[letter],
            asked=letter not in ".o",
            stage=stage if letter not in ".o" else None,
            away_s=away.get(letter),
        )
        for place, letter in enumerate(letters)
    ]


@pytest.mark.parametrize(
    ("letters", "stage", "phase", "at", "ask", "back"),
    [
        ("....................", "10%", Phase.GOING, 0, "d0 d1", ""),
        ("a...................", "10%", Phase.GOING, 0, "d1", ""),
        ("Cw..................", "10%", Phase.GOING, 0, "", ""),
        ("Cp..................", "10%", Phase.GOING, 0, "", ""),
        ("C-..................", "10%", Phase.GOING, 0, "", ""),
        ("CC..................", "10%", Phase.GOING, 1, "d2 d3 d4 d5 d6 d7 d8 d9", ""),
        ("Cx..................", "10%", Phase.GOING, 1, "d2 d3 d4 d5 d6 d7 d8 d9", ""),
        ("Co..................", "10%", Phase.GOING, 1, "d2 d3 d4 d5 d6 d7 d8 d9", ""),
        ("xx..................", "10%", Phase.UNPROVEN, 0, "", ""),
        ("xo..................", "10%", Phase.UNPROVEN, 0, "", ""),
        ("x-..................", "10%", Phase.GOING, 0, "", ""),
        ("CCCCCCCCCC..........", "50%", Phase.GOING, 2, "d10 d11 d12 d13 d14 d15 d16 d17 d18 d19", ""),
        ("CCCCCCCCCCCCCCCCCCCC", "100%", Phase.DONE, 2, "", ""),
        ("CCCCCCCCCCCCCCCCCCCx", "100%", Phase.DONE, 2, "", ""),
        ("CCCCCCCCCCCCCCCCCCC-", "100%", Phase.GOING, 2, "", ""),
        ("CCRCCCCCCCCCCCCCCCCC", "100%", Phase.DONE, 2, "", "d2"),
        # One of two is more than 20%, and so are two of ten; three of twenty are not.
        ("CR..................", "10%", Phase.STOPPED, 0, "", "d1"),
        ("Fa..................", "10%", Phase.STOPPED, 0, "", "d0 d1"),
        ("CCRCCCCCCw..........", "50%", Phase.GOING, 1, "", ""),
        ("CCRVCpwaC-..........", "50%", Phase.STOPPED, 1, "", "d2 d3 d6 d7 d9"),
        ("CCRVFCCCCCCCCCCCCCCC", "100%", Phase.DONE, 2, "", "d2 d3 d4"),
        # What a stage has begun elsewhere goes on there, whoever of those before is still missing.
        ("CxCCCCww............", "50%", Phase.GOING, 1, "d8 d9", ""),
        ("C-CCCCCCCC.........a", "100%", Phase.GOING, 2, "d10 d11 d12 d13 d14 d15 d16 d17 d18", ""),
        # Some stage that this plan does not have.
        ("CC..................", "3%", Phase.GOING, 1, "d2 d3 d4 d5 d6 d7 d8 d9", ""),
    ],
)
def test_what_is_done_next(letters: str, stage: str, phase: Phase, at: int, ask: str, back: str) -> None:
    found = judge(plan(), members(letters, stage))
    assert (found.phase, found.stage) == (phase, at)
    assert (" ".join(found.ask), " ".join(found.set_back)) == (ask, back)


def test_who_was_set_back_counts_wherever_it_stands_in_the_order() -> None:
    """The fleet has grown since: a device that failed in the first stage is not in it any more."""
    many = members("CC..................")
    many[15] = Member(name="d15", standing=Standing.FAILED, stage="10%")
    found = judge(plan(limit=Share.parse("30%")), many)
    assert (found.phase, found.failed, len(found.inside)) == (Phase.STOPPED, 1, 3)


def test_cancelling_takes_back_what_serves_nothing_new() -> None:
    found = judge(plan(cancel=True), members("Cpwa-R.............."))
    assert (found.phase, found.set_back) == (Phase.CANCELLED, ("d2", "d3", "d4", "d5"))
    assert found.ask == ()


@pytest.mark.parametrize(
    ("limit", "failed", "asked", "stops"),
    [
        ("2%", 0, 100, False),
        ("2%", 1, 100, False),
        ("2%", 2, 100, True),
        ("2%", 1, 10, True),
        ("0%", 0, 100, False),
        ("0%", 1, 100, True),
        ("3", 2, 100, False),
        ("3", 3, 100, True),
        ("100%", 9, 10, False),
        ("100%", 10, 10, True),
    ],
)
def test_the_limit(limit: str, failed: int, asked: int, stops: bool) -> None:
    assert plan(limit=Share.parse(limit)).stops(failed, asked) is stops


def test_the_order_is_by_chance_the_same_everywhere_and_another_one_for_each_version() -> None:
    names = [f"device-{number}" for number in range(200)]
    order = plan().ranked(names)
    assert order == plan().ranked(reversed(names))
    assert sorted(order) == sorted(names)
    assert order[:5] == ["device-162", "device-99", "device-121", "device-25", "device-143"]
    assert order != replace(plan(), version="3").ranked(names)
    assert [name for name in order if name != order[7]] == plan().ranked(set(names) - {order[7]})


@pytest.mark.parametrize(
    ("share", "count", "expected"),
    [("5%", 200, 10), ("5%", 3, 1), ("0.1%", 10, 1), ("25%", 10, 3), ("3", 200, 3), ("300", 200, 200), ("7%", 100, 7)],
)
def test_a_share_of_devices(share: str, count: int, expected: int) -> None:
    assert Share.parse(share).of(count) == expected
    assert str(Share.parse(share)) == share


@pytest.mark.parametrize("text", ["", "%", "five", "-1%", "101%", "nan%", "inf", "1.5", "1e9", "5 %x"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a share"):
        Share.parse(text)


@pytest.mark.parametrize("stages", [(), ("0%",), ("25%", "5%"), ("5%", "5%")])
def test_stages_grow(stages: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        plan(stages=tuple(map(Share.parse, stages)))
