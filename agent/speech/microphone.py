"""The device's microphone as a source of sound: watched, reopened, and never replaced by another one in silence."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from agent.errors import by_code
from agent.runtime.wire.errors import WireError
from agent.speech.capture_messages import Captured, CaptureFailed, CaptureReader, Devices, Opened
from agent.speech.child import Child
from agent.speech.devices import DeviceError, InputDevice
from agent.speech.microphone_life import CaptureLimits, MicrophoneLife, Move, advance
from agent.speech.pcm import BYTES_PER_INT16, SAMPLE_RATE_HZ, dbfs, level_of, seconds
from agent.speech.source import Block, DeviceChange, DeviceState, Heard, LossReason, Missing

_log = logging.getLogger("agent.microphone")

CAPTURE_COMMAND = (sys.executable, "-m", "agent.speech.capture")


@dataclass(frozen=True, kw_only=True)
class MicrophoneStatus:
    """For `/status`. `device` and `rate_hz` are what was opened last; samples are at 16 kHz."""

    state: DeviceState
    reason: str
    device: str | None
    rate_hz: int | None
    samples: int
    lost_samples: int
    openings: int


class Microphone:
    """`async with Microphone(...) as microphone: async for item in microphone`. Closed unless entered.

    It yields blocks of sound, what is missing, and each change of state; it never ends and never raises: a device that
    is not there is `failed`, with the reason and the list of devices, and tried again. `device` is an index, a name or
    a part of one; None is the system's default. `command` is the seam for tests.
    """

    def __init__(
        self,
        device: str | int | None = None,
        *,
        rate_hz: int | None = None,
        limits: CaptureLimits | None = None,
        command: Sequence[str] = CAPTURE_COMMAND,
    ) -> None:
        self._limits = limits or CaptureLimits()
        options = [] if device is None else [f"--device={device}"]
        self._command = [*command, *options, *([] if rate_hz is None else [f"--rate={rate_hz}"])]
        self._life = MicrophoneLife()
        self._opened: Opened | None = None
        self._heard_to: float | None = None
        self._first_block = True
        self._samples = 0
        self._lost_samples = 0
        self._openings = 0
        self._items: AsyncGenerator[Heard, None] | None = None

    async def __aenter__(self) -> Self:
        self._items = self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """The device is let go before this returns; nobody may be reading. Idempotent."""
        if self._items is not None:
            await self._items.aclose()
        self._move(Move.STOP)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Heard:
        if self._items is None:
            raise RuntimeError("the microphone was not opened: use `async with`")
        return await anext(self._items)

    @property
    def status(self) -> MicrophoneStatus:
        opened = self._opened
        return MicrophoneStatus(
            state=self._life.state,
            reason=self._life.reason,
            device=None if opened is None else opened.device.name,
            rate_hz=None if opened is None else opened.rate_hz,
            samples=self._samples,
            lost_samples=self._lost_samples,
            openings=self._openings,
        )

    async def _listen(self) -> AsyncGenerator[Heard, None]:
        yield self._move(Move.START)
        while True:
            async with Child(self._command) as child, aclosing(self._hear(child)) as heard:
                async for item in heard:
                    yield item
            await asyncio.sleep(self._life.retry_s or 0.0)
            yield self._move(Move.RETRY)

    async def _hear(self, child: Child) -> AsyncGenerator[Heard, None]:
        """Until this opening of the device is over."""
        reader = CaptureReader()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.open_s
        while True:
            opening = self._life.state == "opening"
            try:
                data = await child.read(max(0.0, deadline - loop.time()) if opening else self._limits.silent_s)
            except TimeoutError:
                yield self._too_late()
                return
            if not data:
                ended = await child.ended()
                tail = child.tail[-1] if child.tail else ""
                yield self._move(Move.ENDED, f"The capturing process ended ({ended}). {tail}".strip())
                return
            try:
                messages = list(reader.feed(data))
            except ValueError as error:
                yield self._move(Move.ENDED, f"The capturing process wrote nonsense: {error}.")
                return
            for message in messages:
                match message:
                    case Opened():
                        self._opened = message
                        self._openings += 1
                        yield self._move(Move.OPENED)
                    case Captured():
                        for item in self._sound(message):
                            yield item
                    case CaptureFailed(error=refusal):
                        move = Move.REFUSED if self._life.state == "opening" else Move.ENDED
                        yield self._move(move, refusal.message, refusal.hint)
                        return

    def _sound(self, captured: Captured) -> list[Heard]:
        """A block, and before it what is missing."""
        samples = len(captured.pcm) // BYTES_PER_INT16
        items: list[Heard] = []
        if self._heard_to is not None and self._first_block:
            gap = round((captured.heard_at - self._heard_to) * SAMPLE_RATE_HZ) - samples
            items += self._missing(gap, "reopened")
        self._first_block = False
        items += self._missing(captured.overrun, "overrun")
        items += self._missing(captured.late, "device")
        if samples:
            items.append(Block(captured.pcm, captured.heard_at))
        self._heard_to = captured.heard_at
        self._samples += samples
        return items

    def _missing(self, samples: int, reason: LossReason) -> list[Heard]:
        if samples <= 0:
            return []
        self._lost_samples += samples
        return [Missing(samples, reason)]

    def _too_late(self) -> DeviceChange:
        if self._life.state == "opening":
            return self._move(
                Move.HUNG,
                f"The microphone did not open within {self._limits.open_s:g} s.",
                "Does the sound server still answer?",
            )
        return self._move(Move.SILENT, f"No sound has come for {self._limits.silent_s:g} s.")

    def _move(self, move: Move, reason: str = "", hint: str = "") -> DeviceChange:
        self._life = life = advance(self._life, move, limits=self._limits, reason=reason, hint=hint)
        if life.state == "opening":
            self._first_block = True
        level = logging.WARNING if life.state in ("lost", "failed") and life.attempts <= 1 else logging.DEBUG
        _log.log(level, "%s. %s", life.state, reason)
        name = None if self._opened is None else self._opened.device.name
        return DeviceChange(state=life.state, name=name, reason=reason, hint=hint, retry_s=life.retry_s)


async def list_devices(timeout_s: float = 10.0, *, command: Sequence[str] = CAPTURE_COMMAND) -> tuple[InputDevice, ...]:
    """The input devices there are. Raises `DeviceError` where PortAudio is missing or does not answer."""
    reader = CaptureReader()
    async with Child([*command, "--list"]) as child:
        try:
            async with asyncio.timeout(timeout_s):
                while data := await child.read(timeout_s):
                    for message in reader.feed(data):
                        if isinstance(message, Devices):
                            return message.devices
                        if isinstance(message, CaptureFailed):
                            raise _translated(message.error)
                ended = await child.ended()
        except TimeoutError:
            raise DeviceError(
                f"The sound system did not list its devices within {timeout_s:g} s.",
                hint="Does the sound server still answer?",
            ) from None
    raise DeviceError(f"The devices cannot be listed ({ended}).", hint=" ".join(child.tail[-1:]))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A stretch of input. Levels are in dB below full scale; samples at 16 kHz."""

    device: str
    rate_hz: int
    seconds: float
    rms_dbfs: float
    peak_dbfs: float
    lost_samples: int
    first_sound_s: float


async def measure(microphone: Microphone, length_s: float = 1.0) -> Measured:
    """Listens for `length_s`. Raises `DeviceError` where the device does not open at the first attempt."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    first: float | None = None
    pcm = bytearray()
    async with microphone:
        async for item in microphone:
            if isinstance(item, DeviceChange) and item.state in ("failed", "lost"):
                raise DeviceError(item.reason, hint=item.hint)
            if isinstance(item, Block):
                first = loop.time() - began if first is None else first
                pcm += item.pcm
                if seconds(len(pcm) // BYTES_PER_INT16) >= length_s:
                    break
        status = microphone.status
    samples = [sample / 32768 for sample in memoryview(pcm).cast("h")]
    return Measured(
        device=status.device or "",
        rate_hz=status.rate_hz or 0,
        seconds=seconds(len(samples)),
        rms_dbfs=round(dbfs(level_of(samples)), 1),
        peak_dbfs=round(dbfs(max(map(abs, samples))), 1),
        lost_samples=status.lost_samples,
        first_sound_s=round(first or 0.0, 3),
    )


def _translated(error: WireError) -> Exception:
    return by_code(error.code)(error.message, hint=error.hint, param=error.param)
