"""A microphone and an engine that the test plays, behind the real `Listening`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from agent.errors import ModelNotFoundError
from agent.runtime.wire.transcription import Segment, Transcribe, Transcribed
from agent.speech.devices import InputDevice
from agent.speech.events import Device, Final, LiveEvent
from agent.speech.listener import Listener
from agent.speech.listening import Listening
from agent.speech.microphone import MicrophoneStatus
from agent.speech.source import Block, DeviceChange, Heard
from agent.speech.wanted import Wanted

from .sounds import LoudIsSpeech

BLOCK_BYTES = 1024
ANY = Wanted()
DEVICE = InputDevice(index=3, name="Desk", host="test", channels=2, rate_hz=48_000, default=True)


@dataclass
class Room:
    """What the microphone would hear: whatever the test says, in the order that it says it."""

    openings: int = 0
    open: int = 0
    wanted: list[str | None] = field(default_factory=list)
    _heard: asyncio.Queue[Heard | Exception] = field(default_factory=asyncio.Queue)

    def say(self, *items: bytes | Heard | Exception) -> None:
        """PCM, or what a source of sound yields; an error breaks the session."""
        for item in items:
            if not isinstance(item, bytes):
                self._heard.put_nowait(item)
                continue
            for start in range(0, len(item), BLOCK_BYTES):
                self._heard.put_nowait(Block(item[start : start + BLOCK_BYTES], time.monotonic()))

    async def next(self) -> Heard | Exception:
        for _ in range(3):  # others have their turn between two blocks, as with a real one
            await asyncio.sleep(0)
        return await self._heard.get()

    def microphone(self, wanted: str | None) -> ScriptedMicrophone:
        self.wanted.append(wanted)
        return ScriptedMicrophone(self)


class ScriptedMicrophone:
    """`Microphone`'s interface. Opens at once."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._items: AsyncGenerator[Heard, None] | None = None
        self.status = MicrophoneStatus(
            state="closed", reason="", device="Desk", rate_hz=48_000, samples=0, lost_samples=0, openings=0
        )

    async def __aenter__(self) -> Self:
        self._items = self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._items is not None:
            await self._items.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Heard:
        assert self._items is not None
        return await anext(self._items)

    async def _listen(self) -> AsyncGenerator[Heard, None]:
        room = self._room
        room.openings += 1
        room.open += 1
        try:
            yield DeviceChange(state="opening")
            yield DeviceChange(state="open", name="Desk")
            while True:
                item = await room.next()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            room.open -= 1


class ScriptedEngine:
    """One model, `whisper` (alias `w`), that hears "yes", unless `answer` or `trouble` say otherwise."""

    def __init__(self) -> None:
        self.models = ["whisper"]
        self.trouble: Exception | None = None
        self.answer: Callable[[Transcribe], Any] | None = None
        self.loads: list[str] = []
        self.kept: list[str] = []
        self.requests: list[Transcribe] = []

    def find(self, model: str | None) -> str:
        if not self.models or model not in (None, "w", *self.models):
            raise ModelNotFoundError("No model here transcribes speech.", hint="Import one.", param="model")
        return self.models[0]

    @contextmanager
    def keep(self, model: str) -> Iterator[None]:
        self.kept.append(model)
        try:
            yield
        finally:
            self.kept.remove(model)

    async def load(self, model: str) -> None:
        self.loads.append(model)
        if self.trouble is not None:
            raise self.trouble

    def transcriber(self, model: str) -> Callable[[Transcribe], Any]:
        async def transcribe(request: Transcribe) -> Transcribed:
            self.requests.append(request)
            if self.answer is not None:
                await self.answer(request)
            heard = any(request.audio)
            end_s = len(request.audio) / 4 / 16_000
            return Transcribed(
                id=0,
                language="en",
                language_probability=1.0,
                audio_s=end_s,
                segments=(Segment(start_s=0.0, end_s=end_s, text="yes"),) if heard else (),
                completion_tokens=1,
                encode_s=0.0,
                decode_s=0.0,
            )

        return transcribe


async def one_device() -> tuple[InputDevice, ...]:
    return (DEVICE,)


def listening_of(room: Room, engine: ScriptedEngine, **more: Any) -> Listening:
    given: dict[str, Any] = {
        "settings": Wanted(),
        "microphone": room.microphone,
        "voice": LoudIsSpeech,
        "check": lambda: None,
        "devices": one_device,
    }
    return Listening(engine, **(given | more))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def hear(listener: Listener, over: Callable[[LiveEvent], bool]) -> list[LiveEvent]:
    """The events up to the one that is `over`."""
    heard: list[LiveEvent] = []
    async with asyncio.timeout(5):
        async for events in listener:
            for event in events:
                heard.append(event)
                if over(event):
                    return heard
    raise AssertionError(f"the stream ended: {heard}")


async def rest(listener: Listener) -> list[LiveEvent]:
    async with asyncio.timeout(5):
        return [event async for events in listener for event in events]


def is_open(event: LiveEvent) -> bool:
    return isinstance(event, Device) and event.state == "open"


def states(events: list[LiveEvent]) -> list[str]:
    return [event.state for event in events if isinstance(event, Device)]


def finals(events: list[LiveEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]
