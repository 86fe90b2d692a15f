"""Blocks over MQTT: what `agent.chunks.blocks` describes, from the device's side."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from agent.chunks.blocks import BLOCK_BYTES, REFUSED, Block, BlockRequest, decode_refusal, encode_request
from agent.errors import RequestError, UpdateError
from agent.updates.fetch.faults import InterruptedFetchError, NotThereError
from agent.updates.fetch.meter import Meter
from agent.updates.fetch.transport import Place, Wanted
from agent.updates.fetch.window import Window
from agent.updates.fetch.wire import Answer, AskFailed

SILENCE_S: Final = 60.0
"""Without any block for so long, nobody answers."""
BATCH: Final = 16
"""A request asks for so many at least, while more are on their way: each costs the broker a confirmation."""
GROUP: Final = 16
"""Of a whole file, so many blocks are held until they are in order: 2 MiB."""
WRONG: Final = 8
"""Blocks of another length than was asked for, in a row."""


class Line(Protocol):
    """The daemon's connection to the broker, as a child sees it."""

    def ask(self, payload: bytes) -> None: ...

    def next(self, timeout_s: float) -> Answer | AskFailed | None:
        """What came, or None if nothing did."""


class BlockTransport:
    def __init__(
        self, line: Line, meter: Meter, *, clock: Callable[[], float] = time.monotonic, silence_s: float = SILENCE_S
    ) -> None:
        self._line = line
        self._meter = meter
        self._clock = clock
        self._silence_s = silence_s
        self._window = Window()

    def read(self, place: Place, size_bytes: int | None = None) -> Iterator[bytes]:
        number = 0
        while size_bytes is None:
            (piece,) = [data for _, data in self._blocks(place, iter([_block(number, BLOCK_BYTES)]), exact=False)]
            yield piece
            if len(piece) < BLOCK_BYTES:
                return
            number += 1
        for first in range(0, size_bytes, GROUP * BLOCK_BYTES):
            starts = range(first, min(first + GROUP * BLOCK_BYTES, size_bytes), BLOCK_BYTES)
            wanted = [_block(at // BLOCK_BYTES, min(BLOCK_BYTES, size_bytes - at)) for at in starts]
            came = {chunk.number: data for chunk, data in self._blocks(place, iter(wanted))}
            yield from (came[chunk.number] for chunk in wanted)

    def chunks(self, place: Place, total_bytes: int, wanted: Iterable[Wanted]) -> Iterator[tuple[Wanted, bytes]]:
        yield from self._blocks(place, iter(wanted))

    def close(self) -> None:
        pass

    def _blocks(self, place: Place, wanted: Iterator[Wanted], *, exact: bool = True) -> Iterator[tuple[Wanted, bytes]]:
        """Each of `wanted` once, as they come. `exact` False: a shorter one is welcome, too."""
        window = self._window = Window(before=self._window)
        away, again = dict[int, Wanted](), deque[Wanted]()
        heard_at, reason, wrong = self._clock(), "nobody answers", 0
        more = True
        while True:
            more = self._fill(place, window, away, again, wanted) and more
            if not away and not again and not more:
                return
            message = self._line.next(min(window.wait_s(self._clock()), 1.0) if away else 0.05)
            now = self._clock()
            if isinstance(message, AskFailed):
                reason = message.reason.rstrip(".")
            elif isinstance(message, Answer):
                self._meter.count(len(message.payload) + len(message.rest))
                key, _, number = message.rest.partition("/")
                chunk = away.get(int(number)) if number.isdecimal() and len(number) < 11 else None
                if key == place.key and number == REFUSED:
                    self._refused(message.payload, place)
                elif key == place.key and chunk is not None:
                    size = len(message.payload)
                    if size == chunk.length or (not exact and size < chunk.length):
                        window.arrived(chunk.number, now)
                        del away[chunk.number]
                        heard_at, wrong = now, 0
                        yield chunk, message.payload
                        heard_at = self._clock()  # not the line's fault how long that took
                        continue
                    wrong += 1
                    if wrong >= WRONG:
                        raise InterruptedFetchError(f"The server's blocks of {place.path} have wrong lengths.")
            again.extend(away.pop(lost) for lost in window.lost(now))
            if now - heard_at > self._silence_s:
                raise InterruptedFetchError(f"No block of {place.path} came in {self._silence_s:.0f} s: {reason}.")

    def _fill(
        self, place: Place, window: Window, away: dict[int, Wanted], again: deque[Wanted], wanted: Iterator[Wanted]
    ) -> bool:
        """Asks for as much as may be on its way; whether `wanted` may have more."""
        room = min(window.room, self._allowed(away))
        if room < min(BATCH, (window.size + 1) // 2) and away:
            return True
        if away and (room == 0 or not self._meter.ready):
            return True
        if room == 0 or not self._meter.ready:
            self._meter.wait()
            return True
        batch: list[Block] = []
        more = True
        while len(batch) < room:
            repeated = bool(again)
            chunk = again.popleft() if again else next(wanted, None)
            if chunk is None:
                more = False
                break
            away[chunk.number] = chunk
            window.asked(chunk.number, self._clock(), again=repeated)
            batch.append(Block(chunk.number, chunk.offset, chunk.length))
        if batch:
            self._line.ask(encode_request(BlockRequest(file=place.key, blocks=tuple(batch))))
        return more

    def _allowed(self, away: dict[int, Wanted]) -> int:
        """Blocks that the allowance lets us ask for besides those on their way, taking each as large as it can be."""
        allowed = len(away) + BATCH * 16
        if (left_bytes := self._meter.left_bytes) is not None:
            allowed = min(allowed, -(-left_bytes // BLOCK_BYTES))
        if (bytes_per_s := self._meter.bytes_per_s) is not None:
            allowed = min(allowed, max(1, int(bytes_per_s / BLOCK_BYTES)))
        return max(0, allowed - len(away))

    def _refused(self, payload: bytes, place: Place) -> None:
        try:
            refusal = decode_refusal(payload)
        except RequestError:
            return
        if refusal.code == "not_found":
            raise NotThereError(f"The server of blocks has no {place.path}: {refusal.reason.rstrip('.')}.")
        if refusal.code == "busy":
            raise InterruptedFetchError(
                f"The server of blocks is busy: {refusal.reason.rstrip('.')}.", wait_s=refusal.wait_s
            )
        raise UpdateError(f"The server of blocks refuses {place.path}: {refusal.reason.rstrip('.')}.", retry=True)


def _block(number: int, length: int) -> Wanted:
    return Wanted(number, number * BLOCK_BYTES, length, b"")
