from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from agent.errors import TooLargeError
from agent.fleet.telemetry.block import BLOCK_BYTES, DamagedBlockError, pack
from agent.fleet.telemetry.clock import Stamp
from agent.fleet.telemetry.sample import SAMPLE_BYTES, Sample, encode


def samples(first: int, count: int, size: int = 10) -> list[Sample]:
    return [
        Sample(seq, Stamp(seq, seq), b'{"v":"' + b"%06d" % seq + b"x" * size + b'"}')
        for seq in range(first, first + count)
    ]


@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 10), (500, 100), (4, BLOCK_BYTES)])
def test_packed_and_unpacked(count: int, size: int) -> None:
    made = samples(7, count, size)
    blocks = list(pack(made, boot=1))
    assert [line for block in blocks for line in block.lines()] == [sample.body for sample in made]
    assert blocks[0].first == 7
    assert all(after.first == before.last + 1 for before, after in pairwise(blocks))
    assert blocks[-1].stamp == made[-1].stamp


def test_a_gap_begins_a_block() -> None:
    blocks = list(pack([*samples(1, 3), *samples(9, 2)], boot=1))
    assert [(block.first, block.last) for block in blocks] == [(1, 3), (9, 10)]


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b"\0" + b[1:], lambda b: b"{}\n{}", lambda b: b""])
def test_damage_is_noticed(damage: object) -> None:
    (block,) = pack(samples(1, 50), boot=1)
    with pytest.raises(DamagedBlockError):
        replace(block, body=damage(block.body)).lines()  # type: ignore[operator]


def test_a_sample_that_is_too_large_is_refused() -> None:
    with pytest.raises(TooLargeError):
        encode(Stamp(0, 0), {"text": "x" * SAMPLE_BYTES})


def test_a_sample_is_one_line_and_leaves_out_what_is_not_known() -> None:
    body = encode(Stamp(1.23456, 2), {"text": "a\nb", "none": None, "group": {"x": 1, "y": None}})
    assert body == b'{"time":1.235,"up":2,"text":"a\\nb","group":{"x":1}}'
