"""One opening of the device's microphone, from the first listener to the last: one live session for all of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol, Self

import msgspec

from agent.errors import EdgeAgentError
from agent.speech.events import Device, Failure, LiveEvent, Lost
from agent.speech.listener import Listener
from agent.speech.live import LiveOptions, LiveSession
from agent.speech.live_engine import LiveEngine
from agent.speech.microphone import MicrophoneStatus
from agent.speech.pcm import BYTES_PER_FLOAT, samples_in
from agent.speech.source import DeviceState, Heard
from agent.speech.vad import VoiceActivity
from agent.speech.wanted import Wanted

_log = logging.getLogger("agent.microphone")

RESTART_S = 1.0
"""Before the next session, when one ended by an error of ours."""
WARM_UP_S = 0.5
"""How much silence a model hears when it has been loaded: it answers at once, and tells what is wrong with it or with
the language before anybody speaks."""


class MicrophoneState(msgspec.Struct, frozen=True, kw_only=True):
    """What /status shows. `device` is the one that was opened last, `wanted` what was asked for (None: the system's
    default); samples are at 16 kHz. When closed, the figures are those of the last opening."""

    state: DeviceState = "closed"
    device: str | None = None
    wanted: str | None = None
    listeners: int = 0
    held: bool = False
    model: str | None = None
    language: str | None = None
    reason: str = ""
    hint: str = ""
    retry_s: float | None = None
    sample_rate_hz: int | None = None
    heard_s: float = 0.0
    queued_s: float = 0.0
    lost_samples: int = 0
    openings: int = 0
    real_time_factor: float | None = None


@dataclass
class Totals:
    """Since the daemon started, for metrics."""

    openings: int = 0
    lost_samples: int = 0


class Recorder(Protocol):
    """`agent.speech.microphone.Microphone`, as far as it is used here."""

    @property
    def status(self) -> MicrophoneStatus: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Heard: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Means:
    """What an opening is made with."""

    engine: LiveEngine
    options: LiveOptions
    microphone: Callable[[str | None], Recorder]
    totals: Totals = field(default_factory=Totals)


class Opening:
    """From `begin` to `finish` or `cancel`. `wanted.model` is the model's real name.

    A session that ends by an error of ours is told to all as a `device` event with state `failed` and begun again; its
    seconds and segments then start at 0.
    """

    def __init__(self, wanted: Wanted, voice: VoiceActivity, means: Means) -> None:
        assert wanted.model is not None, "the model has been found"
        self.wanted = wanted
        self.held = False
        self._model = wanted.model
        self._voice = voice
        self._means = means
        self._transcribe = means.engine.transcriber(wanted.model)
        request = msgspec.structs.replace(
            means.options.request, language=wanted.language_code, prompt=wanted.prompt or ""
        )
        self._options = replace(means.options, request=request)
        self._listeners: set[Listener] = set()
        self._microphone: Recorder | None = None
        self._session: LiveSession | None = None
        self._told: Device | None = None
        self._lost_samples = self._openings = 0
        self._released = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._run(), name="microphone")

    @property
    def needed(self) -> bool:
        return self.held or bool(self._listeners)

    @property
    def over(self) -> bool:
        return self._task is not None and self._task.done()

    @property
    def speaking(self) -> bool:
        """Whether somebody is speaking just now."""
        return self._session is not None and self._session.speaking

    @property
    def device(self) -> str | None:
        """The name of the device, once it has been opened."""
        return None if self._microphone is None else self._microphone.status.device

    @property
    def state(self) -> MicrophoneState:
        told, session = self._told, self._session
        status = None if self._microphone is None else self._microphone.status
        factor = None if session is None else session.real_time_factor
        return MicrophoneState(
            state="opening" if told is None else told.state,
            device=None if status is None else status.device,
            wanted=self.wanted.device,
            listeners=len(self._listeners),
            held=self.held,
            model=self._model,
            language=self.wanted.language_code,
            reason="" if told is None else told.reason,
            hint="" if told is None else told.hint,
            retry_s=None if told is None else told.retry_s,
            sample_rate_hz=None if status is None else status.rate_hz,
            heard_s=0.0 if session is None else round(session.heard_s, 1),
            queued_s=0.0 if session is None else round(float(session.queued_s), 1),
            lost_samples=self._lost_samples,
            openings=self._openings,
            real_time_factor=None if factor is None else round(factor, 3),
        )

    def add(self, listener: Listener) -> None:
        """It is told first what state the microphone is in."""
        if self._told is not None:
            listener.put(self._told)
        self._listeners.add(listener)
        self._mind_levels()

    def remove(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        self._mind_levels()

    async def finish(self, within_s: float) -> None:
        """Lets go of the device at once, gives what was said until now `within_s` to become text, then ends."""
        session, microphone = self._session, self._microphone
        if session is not None and microphone is not None and self._task is not None:
            session.finish()
            await session.deaf()
            await microphone.close()
            self._released.set()
            await asyncio.wait({self._task}, timeout=within_s)
        await self.cancel()

    async def cancel(self) -> None:
        """Ends at once; what is not transcribed yet is dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def released(self) -> None:
        """Returns when the device has been let go, after `finish` or `cancel`."""
        await self._released.wait()

    async def _run(self) -> None:
        try:
            with self._means.engine.keep(self._model):
                loading = asyncio.create_task(self._load(), name="microphone:model")
                try:
                    await self._listen_on()
                finally:
                    loading.cancel()
                    await asyncio.gather(loading, return_exceptions=True)
        finally:
            self._tell(self._changed("closed"))
            self._released.set()
            for listener in self._listeners:
                listener.end()
            self._listeners.clear()

    async def _listen_on(self) -> None:
        """Returns when the session has ended as it should, which `finish` leads to."""
        while True:
            try:
                await self._listen()
                return
            except Exception as error:
                _log.exception("the live session ended by an error; the next one begins in %g s", RESTART_S)
                reason = f"The live session ended by an error: {error}"
                self._tell(self._changed("failed", reason=reason, hint="The daemon's log has it.", retry_s=RESTART_S))
            await asyncio.sleep(RESTART_S)
            self._voice.reset()

    async def _listen(self) -> None:
        async with self._means.microphone(self.wanted.device) as microphone:
            session = LiveSession(microphone, self._transcribe, voice=self._voice, options=self._options)
            async with session:
                self._microphone, self._session = microphone, session
                self._mind_levels()
                async for event in session:
                    self._tell(event)

    async def _load(self) -> None:
        """Has the model ready before anybody has finished the first sentence; what is wrong with it is told at once."""
        try:
            await self._means.engine.load(self._model)
            silence = bytes(samples_in(WARM_UP_S) * BYTES_PER_FLOAT)
            await self._transcribe(msgspec.structs.replace(self._options.request, audio=silence))
        except EdgeAgentError as error:
            _log.warning("the microphone is open, but model %s cannot transcribe: %s", self._model, error)
            heard_s = 0.0 if self._session is None else self._session.heard_s
            self._tell(
                Failure(
                    segment=None,
                    start_s=heard_s,
                    end_s=heard_s,
                    time=round(time.time(), 3),
                    code=error.code,
                    message=error.message,
                    hint=error.hint,
                )
            )

    def _tell(self, event: LiveEvent) -> None:
        if isinstance(event, Device):
            self._told = event
            if event.state == "open":
                self._openings += 1
                self._means.totals.openings += 1
        elif isinstance(event, Lost):
            self._lost_samples += event.samples
            self._means.totals.lost_samples += event.samples
        for listener in self._listeners:
            listener.put(event)

    def _changed(self, state: DeviceState, *, reason: str = "", hint: str = "", retry_s: float | None = None) -> Device:
        heard_s = 0.0 if self._session is None else self._session.heard_s
        return Device(
            at_s=heard_s,
            time=round(time.time(), 3),
            state=state,
            name=self.device,
            reason=reason,
            hint=hint,
            retry_s=retry_s,
        )

    def _mind_levels(self) -> None:
        if self._session is not None:
            self._session.tell_levels(any(listener.levels for listener in self._listeners))
