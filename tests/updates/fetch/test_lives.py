"""What a fetch that is killed again and again fetches twice: never more than the chunk that was just coming.

A life ends here by an exception that nothing catches, at a byte that has come, or at a write to the disk: what the disk
has by then is all that the next life knows. Bytes that the system held for the process and that it had not read are not
counted: nobody has fetched them yet.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agent.chunks.index import MAX_CHUNK_BYTES
from agent.updates.fetch.listing import Listing
from agent.updates.fetch.meter import Meter
from agent.updates.fetch.part import PartialFile, boot_id
from agent.updates.fetch.places import WORK, index_path
from agent.updates.fetch.wire import Found
from tests.convert.publish.published import Killed, Repository
from tests.updates.fetch.device import FetchingDevice

MODEL = np.random.default_rng(5).bytes(1_500_000)
HEAD_BYTES = 1024
"""More than the head of an answer has, which counts as fetched too."""


class Dying(Meter):
    """Its process is killed when so many bytes have come."""

    def __init__(self, last_bytes: int) -> None:
        super().__init__()
        self._last_bytes = last_bytes

    def count(self, received_bytes: int) -> None:
        super().count(received_bytes)
        if self.fetched_bytes >= self._last_bytes:
            raise Killed


def known_bytes(device: FetchingDevice, found: Found) -> int:
    """What the next life knows to be there."""
    (file,) = found.files
    if not (device.into / WORK / f"{file.sha256}.bits").exists():
        return 0
    with (
        Listing(index_path(device.folder, file.sha256), size_bytes=file.bytes, sha256=file.sha256) as listing,
        PartialFile(
            device.into / file.path,
            device.into / WORK,
            size_bytes=file.bytes,
            sha256=file.sha256,
            count=listing.count,
            boot=boot_id(),
        ) as part,
    ):
        return sum(chunk.length for chunk in listing if chunk.number in part)


def live(device: FetchingDevice, found: Found, meter: Meter) -> tuple[bool, int]:
    """Whether it came to its end; how much it fetched in vain."""
    before, device.meter = known_bytes(device, found), meter
    try:
        device.download(found)
    except Killed:
        return False, meter.fetched_bytes - (known_bytes(device, found) - before)
    return True, meter.fetched_bytes - (len(MODEL) - before)


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_byte_a_chunk_at_most_is_fetched_again(
    repository: Repository, device: FetchingDevice, seed: int
) -> None:
    repository.publish("1", files={"model.onnx": MODEL})
    found = device.resolve()
    dice, lost, done = random.Random(seed), list[int](), False
    while not done:
        done, in_vain = live(device, found, Dying(dice.randint(1, 400_000)))
        lost.append(in_vain)
    assert len(lost) > 4
    assert max(lost) <= MAX_CHUNK_BYTES + HEAD_BYTES
    assert (device.into / "model.onnx").read_bytes() == MODEL


@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
def test_killed_at_any_write_a_chunk_at_most_is_fetched_again(
    repository: Repository, device: FetchingDevice, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """The data of a chunk, or the bit that says that it is there."""
    repository.publish("1", files={"model.onnx": MODEL})
    found = device.resolve()
    lost, done = list[int](), False
    while not done:
        monkeypatch.setattr("agent.updates.fetch.part.os.pwrite", _dying(os.pwrite, 1 + len(lost) % 4, after))
        done, in_vain = live(device, found, Meter())
        monkeypatch.undo()
        lost.append(in_vain)
        assert len(lost) < 200
    assert len(lost) > 4
    assert max(lost) <= MAX_CHUNK_BYTES + HEAD_BYTES
    assert (device.into / "model.onnx").read_bytes() == MODEL


def _dying(write: Callable[..., int], at: int, after: bool) -> Callable[..., int]:
    left = at

    def dying(*arguments: Any) -> int:
        nonlocal left
        left -= 1
        if left == 0 and not after:
            raise Killed
        written = write(*arguments)
        if left == 0:
            raise Killed
        return written

    return dying
