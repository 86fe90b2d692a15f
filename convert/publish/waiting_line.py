"""Blocks that devices have asked for: each device gets its turn, and none can fill the line."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, NamedTuple

from agent.chunks.blocks import BLOCKS_PER_REQUEST, Block, BlockRequest

BLOCKS_PER_DEVICE: Final = 4 * BLOCKS_PER_REQUEST
DEVICES: Final = 4096


class Asked(NamedTuple):
    device: str
    file: str
    block: Block


class WaitingLine:
    """First come, first served within a device; between devices in turn."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, deque[Asked]] = OrderedDict()
        self._known: set[Asked] = set()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def devices(self) -> int:
        return len(self._turns)

    def add(self, device: str, request: BlockRequest) -> bool:
        """False, and nothing added, where the device or all devices together have asked for too much already.

        A block that waits already is not added again: the device lost patience, not the block.
        """
        turn = self._turns.get(device)
        if turn is None and len(self._turns) >= DEVICES:
            return False
        fresh = [asked for block in request.blocks if (asked := Asked(device, request.file, block)) not in self._known]
        if len(turn or ()) + len(fresh) > BLOCKS_PER_DEVICE:
            return False
        if fresh:
            self._turns.setdefault(device, deque()).extend(fresh)
            self._known.update(fresh)
        return True

    def take(self) -> Asked | None:
        """The next block to answer; None where nobody waits."""
        if not self._turns:
            return None
        device, turn = self._turns.popitem(last=False)
        asked = turn.popleft()
        if turn:
            self._turns[device] = turn
        self._known.discard(asked)
        return asked

    def drop(self, device: str, file: str) -> None:
        """Nothing of this file is to be had for this device."""
        turn = self._turns.get(device)
        if turn is None:
            return
        gone = [asked for asked in turn if asked.file == file]
        self._known.difference_update(gone)
        left = deque(asked for asked in turn if asked.file != file)
        if left:
            self._turns[device] = left
        else:
            del self._turns[device]
