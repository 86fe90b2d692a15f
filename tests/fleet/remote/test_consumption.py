"""Which samples are new and what may be acknowledged, as tables of messages. No sample may be acknowledged unseen."""

from __future__ import annotations

from typing import Any

import pytest

from agent.fleet.remote import consumption
from agent.fleet.remote.consumption import Consumption


def message(first: int, count: int, *, log: str = "l", missing: int = 0) -> dict[str, Any]:
    return {"seq": first, "log": log, "missing": missing, "samples": [{"n": first + i} for i in range(count)]}


def course(*messages: dict[str, Any]) -> list[tuple[list[int], int | None]]:
    """For each message the numbers that were new, and the one that was acknowledged."""
    taken = [consumer.take("d", "event", "t", one) for consumer in [Consumption()] for one in messages]
    return [
        ([sample["n"] for sample in one.samples], one.acknowledge["seq"] if one.acknowledge else None) for one in taken
    ]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        # from the very beginning
        ([message(1, 2), message(3, 1)], [([1, 2], 2), ([3], 3)]),
        # who comes in the middle waits until the device begins again
        (
            [message(5, 2), message(7, 1), message(3, 3), message(6, 2), message(8, 1)],
            [([5, 6], None), ([7], None), ([], 5), ([], 7), ([8], 8)],
        ),
        # what the broker dropped is not acknowledged until it has come again
        (
            [message(1, 1), message(3, 1), message(2, 2), message(4, 1)],
            [([1], 1), ([3], None), ([], 3), ([4], 4)],
        ),
        # what the device says it has lost does not count as a gap
        ([message(1, 1), message(5, 1, missing=3)], [([1], 1), ([5], 5)]),
        ([message(5, 1, missing=4)], [([5], 5)]),
        # sent twice because our word was lost: acknowledged again, shown once
        ([message(1, 2), message(1, 2)], [([1, 2], 2), ([], 2)]),
        ([message(1, 2), message(2, 3)], [([1, 2], 2), ([3, 4], 4)]),
        # another log numbers from its own beginning
        (
            [message(1, 9), message(1, 1, log="m"), message(2, 1, log="m")],
            [(list(range(1, 10)), 9), ([1], 1), ([2], 2)],
        ),
    ],
)
def test_a_course_of_messages(messages: list[dict[str, Any]], expected: list[tuple[list[int], int | None]]) -> None:
    assert course(*messages) == expected


def test_the_word_names_the_type_and_the_log() -> None:
    taken = Consumption().take("d", "event", "t", message(1, 3, log="abc"))
    assert taken.acknowledge == {"type": "t", "seq": 3, "log": "abc"}
    assert taken.first == 1


def test_losses_are_told_once() -> None:
    consumer = Consumption()
    assert consumer.take("d", "event", "t", message(5, 1, missing=4)).lost == 4
    assert consumer.take("d", "event", "t", message(5, 1, missing=4)).lost == 0


def test_single_samples_count_too() -> None:
    consumer = Consumption()
    taken = consumer.take("d", "measurement", "t", {"time": 1, "seq": 1, "cpu": 0.5})
    assert (taken.samples, taken.first) == (({"time": 1, "cpu": 0.5},), 1)
    assert consumer.take("d", "measurement", "t", {"time": 1, "seq": 1, "cpu": 0.5}).samples == ()


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ([1, 2], ([1, 2],)),
        ("text", ("text",)),
        ({"cpu": 1}, ({"cpu": 1},)),
        ({"samples": "x", "seq": 1}, ("x",)),
        ({"samples": [1, 2], "seq": -1}, (1, 2)),
        ({"samples": [1, 2], "seq": 2**63}, (1, 2)),
        ({"samples": [1, 2], "seq": True}, (1, 2)),
        ({"samples": [1, 2], "seq": 1.5}, (1, 2)),
        ({"samples": [], "seq": 1}, ()),
    ],
)
def test_anything_is_shown_and_only_what_is_numbered_is_acknowledged(data: Any, shown: tuple[Any, ...]) -> None:
    taken = Consumption().take("d", "event", "t", data)
    assert taken.samples == shown
    assert taken.acknowledge is None or data["samples"] == []


def test_types_that_somebody_makes_up_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumption, "TYPES", 10)
    consumer = Consumption()
    for number in range(100):
        consumer.take("d", "event", f"t{number}", message(1, 1))
    assert consumer.take("d", "event", "t99", message(1, 1)).samples == ()
    assert consumer.take("d", "event", "t0", message(1, 1)).samples != ()
