"""Devices take turns, and none fills the line."""

from __future__ import annotations

from agent.chunks.blocks import BLOCKS_PER_REQUEST, Block, BlockRequest
from convert.publish.waiting_line import BLOCKS_PER_DEVICE, DEVICES, WaitingLine


def request(*numbers: int, file: str = "timestamp.json") -> BlockRequest:
    return BlockRequest(file=file, blocks=tuple(Block(number, number * 10, 10) for number in numbers))


def taken(line: WaitingLine) -> list[tuple[str, int]]:
    found = []
    while (asked := line.take()) is not None:
        found.append((asked.device, asked.block.number))
    return found


def test_devices_take_turns() -> None:
    line = WaitingLine()
    assert line.add("a", request(1, 2, 3, 4))
    assert line.add("b", request(1))
    assert line.add("c", request(7, 6))
    assert taken(line) == [("a", 1), ("b", 1), ("c", 7), ("a", 2), ("c", 6), ("a", 3), ("a", 4)]
    assert (len(line), line.devices) == (0, 0)


def test_what_waits_is_not_answered_twice_and_what_was_answered_is() -> None:
    line = WaitingLine()
    line.add("a", request(1, 2))
    line.add("a", request(2, 3))
    assert taken(line) == [("a", 1), ("a", 2), ("a", 3)]
    line.add("a", request(2))
    assert taken(line) == [("a", 2)]


def test_one_device_cannot_fill_the_line() -> None:
    line = WaitingLine()
    for start in range(0, BLOCKS_PER_DEVICE, BLOCKS_PER_REQUEST):
        assert line.add("a", request(*range(start, start + BLOCKS_PER_REQUEST)))
    assert not line.add("a", request(BLOCKS_PER_DEVICE))
    assert line.add("a", request(0))  # it waits already
    assert line.add("b", request(0))
    assert len(line) == BLOCKS_PER_DEVICE + 1


def test_all_devices_together_cannot_fill_it_either() -> None:
    line = WaitingLine()
    assert all(line.add(str(number), request(1)) for number in range(DEVICES))
    assert not line.add("one more", request(1))
    assert line.add("0", request(2))


def test_what_is_not_there_is_dropped_for_that_device() -> None:
    line = WaitingLine()
    line.add("a", request(1, 2))
    line.add("a", request(3, file="1.root.json"))
    line.add("b", request(1))
    line.drop("a", "timestamp.json")
    line.drop("b", "timestamp.json")
    line.drop("c", "timestamp.json")
    assert taken(line) == [("a", 3)]
    assert len(line) == 0
