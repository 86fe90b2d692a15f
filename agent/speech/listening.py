"""The device's one microphone, shared: open while somebody listens or holds it open, closed otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import msgspec

from agent.errors import ShuttingDownError
from agent.speech.devices import InputDevice
from agent.speech.listener import Listener
from agent.speech.live import LiveOptions
from agent.speech.live_engine import LiveEngine
from agent.speech.microphone import Microphone, list_devices
from agent.speech.opening import Means, MicrophoneState, Opening, Recorder, Totals
from agent.speech.software import check_software
from agent.speech.vad import VoiceActivity, silero
from agent.speech.wanted import Wanted, check_same

_log = logging.getLogger("agent.microphone")

FINISH_S = 10.0
"""What was said before a stop gets this long to become text."""
RELEASE_S = 2.0
"""A killed process that a driver holds fast is not waited for any longer."""


class Listening:
    """`async with listening.listen(Wanted()) as listener: async for events in listener`.

    `settings` says what is taken where nobody asked for anything; a new value counts from the next opening on.
    Nothing of what listening needs is loaded before the first opening.
    """

    def __init__(
        self,
        engine: LiveEngine,
        *,
        settings: Wanted,
        options: LiveOptions | None = None,
        microphone: Callable[[str | None], Recorder] = Microphone,
        voice: Callable[[], VoiceActivity] = silero,
        check: Callable[[], None] = check_software,
        devices: Callable[[], Awaitable[tuple[InputDevice, ...]]] = list_devices,
    ) -> None:
        self.settings = settings
        self._engine = engine
        self._voice = voice
        self._check = check
        self._list_devices = devices
        self._listing: asyncio.Task[tuple[InputDevice, ...]] | None = None
        self._means = Means(engine=engine, options=options or LiveOptions(), microphone=microphone)
        self._opening: Opening | None = None
        self._last = MicrophoneState()
        self._ending: dict[asyncio.Task[None], Opening] = {}
        self._changing = asyncio.Lock()
        self._closed = False

    @property
    def state(self) -> MicrophoneState:
        return self._last if self._opening is None else self._opening.state

    @property
    def speaking(self) -> bool:
        """Whether somebody is speaking into the microphone just now."""
        return self._opening is not None and not self._opening.over and self._opening.speaking

    @property
    def totals(self) -> Totals:
        return self._means.totals

    @contextlib.asynccontextmanager
    async def listen(self, wanted: Wanted, *, levels: bool = True) -> AsyncIterator[Listener]:
        """Opens the microphone if it is not open, and closes it on leaving if nobody else wants it.

        Raises `MicrophoneInUseError` if it runs with something else than `wanted`, `ModelNotFoundError` and
        `RequestError` for a model that cannot be used, `DeviceError` and `UnavailableError` where PortAudio or a
        package is missing, `ShuttingDownError`. A device that is missing is told by events, and tried again.
        """
        listener = Listener(levels=levels)
        async with self._changing:
            opening = await self._running(wanted)
            opening.add(listener)
        try:
            yield listener
        finally:
            opening.remove(listener)
            if opening is self._opening and not opening.needed:
                self._part(opening, opening.cancel())

    async def start(self, wanted: Wanted) -> MicrophoneState:
        """Opens the microphone, if it is not open, and holds it open until `stop`. Raises what `listen` raises."""
        async with self._changing:
            opening = await self._running(wanted)
            opening.held = True
        return self.state

    async def stop(self, finish_s: float = FINISH_S) -> MicrophoneState:
        """Closes the microphone for everyone: the device at once; who listens still gets the texts that are due."""
        async with self._changing:
            opening = self._opening
            if opening is not None:
                self._part(opening, opening.finish(finish_s))
                await _released(opening)
        return self.state

    async def close(self, finish_s: float) -> None:
        """`stop`, for good: takes little more than `finish_s`, and leaves nothing running."""
        self._closed = True
        await self.stop(finish_s)
        if self._listing is not None:
            self._listing.cancel()
        if tasks := [*self._ending, *([] if self._listing is None else [self._listing])]:
            await asyncio.wait(tasks, timeout=finish_s + RELEASE_S)

    async def devices(self) -> tuple[InputDevice, ...]:
        """The input devices there are; who asks meanwhile gets the same answer.

        Raises `DeviceError` where PortAudio or a package is missing, or the sound system does not answer.
        """
        await asyncio.to_thread(self._check)
        if self._listing is None or self._listing.done():
            self._listing = asyncio.create_task(self._listed(), name="list microphones")
        return await asyncio.shield(self._listing)

    async def _listed(self) -> tuple[InputDevice, ...]:
        return await self._list_devices()

    async def _running(self, wanted: Wanted) -> Opening:
        """What runs, or a new opening. Nothing waits between its beginning and the return."""
        if self._closed:
            raise ShuttingDownError("The daemon is shutting down.", hint="Listen again once it is back.")
        wanted = wanted.checked()
        if wanted.model is not None:
            wanted = replace(wanted, model=self._engine.find(wanted.model))
        if self._opening is not None and not self._opening.over:
            check_same(wanted, self._opening.wanted, opened=self._opening.device)
            return self._opening
        wanted = wanted.over(self.settings).checked()
        wanted = replace(wanted, model=self._engine.find(wanted.model))
        await asyncio.to_thread(self._check)
        voice = await asyncio.to_thread(self._voice)
        for former in list(self._ending.values()):
            await _released(former)
        if self._closed:
            raise ShuttingDownError("The daemon is shutting down.", hint="Listen again once it is back.")
        self._opening = opening = Opening(wanted, voice, self._means)
        opening.begin()
        _log.info("opening with model %s", wanted.model)
        return opening

    def _part(self, opening: Opening, ending: Coroutine[Any, Any, None]) -> None:
        """`opening` is not ours from now on; it ends in the background."""
        self._last = msgspec.structs.replace(
            opening.state, state="closed", listeners=0, held=False, reason="", hint="", retry_s=None, queued_s=0.0
        )
        self._opening = None
        task = asyncio.create_task(ending, name="microphone:end")
        self._ending[task] = opening
        task.add_done_callback(self._ended)
        _log.info("closed")

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._ending[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the microphone did not end well", exc_info=error)


async def _released(opening: Opening) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RELEASE_S):
            await opening.released()
