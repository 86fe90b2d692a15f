"""`GET /v1/audio/stream`: a WebSocket that takes a client's sound, and sends what is said as it is said."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final

import msgspec
from aiohttp import WSCloseCode, web
from msgspec import Meta

from agent.api.access import ClientGoneError, record_of, unexpected
from agent.api.counted import CountedPasses
from agent.api.decode import Body, checked
from agent.api.drain import Drain
from agent.api.live import Name, Prompt
from agent.api.models import find_model
from agent.api.parts import CONNECTIONS, DRAIN, LIVE_OPTIONS, METRICS, RUNTIME, SETTINGS, VOICE
from agent.api.websocket import Socket
from agent.errors import EdgeAgentError, QueueFullError, RequestError, ShuttingDownError
from agent.runtime.queue import Priority
from agent.runtime.wire.transcription import Transcribe, Transcribed
from agent.speech.client_stream import (
    MESSAGE_LIMIT_BYTES,
    POLICY_VIOLATION,
    BadMessageError,
    ClientSound,
    End,
    StreamFailure,
    check_text,
)
from agent.speech.languages import code_of
from agent.speech.live import LiveOptions, LiveSession
from agent.speech.transcriber import RuntimeTranscriber
from agent.speech.vad import Lent, VoiceActivity

QUEUE_SHARE: Final = 2
"""A stream has one pass at a time in the runtime's queue: half of it for streams leaves half for everybody else."""
QUEUED_S: Final = 10.0
"""Speech that may wait for its final pass before the client is not read: enough to keep the worker busy."""
RETRY_AFTER_S: Final = 5.0
"""For who found all streams taken: nobody knows when one ends."""

_encode = msgspec.json.encode
_logger = logging.getLogger("agent.api")


class StreamQuery(Body, kw_only=True):
    MEANT: ClassVar[dict[str, str]] = {"lang": "language", "initial_prompt": "prompt", "levels": "level"}

    model: Name | None = None
    language: Name | None = None
    prompt: Prompt | None = None
    hotwords: Prompt | None = None
    level: Annotated[bool, Meta(description="1 or 0")] = True

    def options(self, pattern: LiveOptions) -> LiveOptions:
        """`pattern` as this client wants it. Raises `RequestError`."""
        said = {"prompt": self.prompt, "hotwords": self.hotwords}
        changes: dict[str, str | None] = {name: text for name, text in said.items() if text is not None}
        if self.language is not None:
            changes["language"] = code_of(self.language)
        return replace(
            pattern,
            request=msgspec.structs.replace(pattern.request, **changes),
            when_full="wait",
            max_queued_s=min(QUEUED_S, pattern.max_queued_s),
            level_interval_s=pattern.level_interval_s if self.level else 0.0,
        )


def read_query(request: web.Request) -> StreamQuery:
    """A parameter without a value is one left out. Raises `RequestError`."""
    query = request.query
    for name in query:
        if len(query.getall(name)) > 1:
            raise RequestError(f"`{name[:60]}` is there more than once.", hint="Send it once.", param=name[:60])
    return checked({name: value for name, value in query.items() if value}, StreamQuery, from_text=True)


async def audio_stream(request: web.Request) -> web.StreamResponse:
    query = read_query(request)
    model = find_model(request, query.model, "transcribe")
    options = query.options(request.app[LIVE_OPTIONS])
    socket = Socket(request, message_limit_bytes=MESSAGE_LIMIT_BYTES)
    with _place(request):
        voice = Lent(await asyncio.to_thread(request.app[VOICE]))
        try:
            await socket.open()
            await Conversation(request, socket, model).hold(voice, options)
        finally:
            voice.take_back()
    return socket


def _place(request: web.Request) -> Drain:
    """Entered while the stream is open. Raises `QueueFullError` when there are as many as may be."""
    streams = request.app[CONNECTIONS].streams
    limit = max(1, request.app[RUNTIME].snapshot().queue.capacity // QUEUE_SHARE)
    if streams.active >= limit:
        raise QueueFullError(
            f"{limit} audio streams are open, and no more may be.",
            retry_after_s=RETRY_AFTER_S,
            hint="Close one, or try again later; queue_capacity in agent.toml allows for more.",
        )
    return streams


@dataclass(frozen=True, slots=True)
class Parting:
    """How a stream ends: the close code, and the reason, where it is not the client's `finish`."""

    code: int
    error: EdgeAgentError
    told: bool = True


class Conversation:
    """One client's stream, from the upgrade to the close frame. Everything that goes wrong is said in the stream."""

    def __init__(self, request: web.Request, socket: Socket, model: str) -> None:
        self._socket = socket
        self._model = model
        self._record = record = record_of(request)
        self._runtime = request.app[RUNTIME]
        self._drain = request.app[DRAIN]
        self._silence_limit_s = request.app[SETTINGS].stream_silence_s
        record.model = model
        self._transcribers = {
            priority: RuntimeTranscriber(self._runtime, model, client=record.client, priority=priority)
            for priority in (Priority.HIGH, Priority.NORMAL)
        }
        self._passes = CountedPasses(self._asked, request.app[METRICS].of(model))
        self._finished = False
        self._parting: Parting | None = None
        self._session: LiveSession | None = None

    async def hold(self, voice: VoiceActivity, options: LiveOptions) -> None:
        """Raises `ClientGoneError`."""
        try:
            with self._runtime.keep(self._model):
                await self._transcribe(voice, options)
        except ClientGoneError:
            raise
        except EdgeAgentError as error:
            self._end(Parting(WSCloseCode.INTERNAL_ERROR, error))
        except Exception:
            _logger.exception("request %s failed in mid-stream", self._record.id)
            self._end(Parting(WSCloseCode.INTERNAL_ERROR, unexpected()))
        finally:
            self._record.queue_s = sum(one.queued_s for one in self._transcribers.values())
            self._record.completion_tokens = self._passes.tokens
        await self._part()

    async def _transcribe(self, voice: VoiceActivity, options: LiveOptions) -> None:
        sound = ClientSound()
        async with LiveSession(sound, self._pass, voice=voice, options=options) as session:
            self._session = session
            try:
                async with asyncio.TaskGroup() as group:
                    helpers = [
                        group.create_task(self._hear(sound), name="stream:hear"),
                        group.create_task(self._load(), name="stream:load"),
                        group.create_task(self._mind_shutdown(), name="stream:shutdown"),
                    ]
                    async for event in session:
                        await self._socket.tell(_encode(event))
                    for helper in helpers:
                        helper.cancel()
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
            finally:
                self._session = None  # which knows us: neither shall have to wait for the garbage collector

    async def _hear(self, sound: ClientSound) -> None:
        """Until the client leaves: after its `finish`, it may still ping us."""
        try:
            while isinstance(message := await self._socket.hear(self._silence_limit_s), bytes):
                await sound.push(message, time.monotonic())
            check_text(message)
            self._finished = True
            await sound.end()
            await self._socket.hear()
            raise BadMessageError("A message came after `finish`.", close_code=POLICY_VIOLATION)
        except BadMessageError as error:
            self._end(Parting(error.close_code, error))
            await sound.end()

    async def _load(self) -> None:
        """So that the model is there when something has been said."""
        try:
            await self._runtime.load(self._model)
        except EdgeAgentError as error:
            self._stop(Parting(WSCloseCode.INTERNAL_ERROR, error))

    async def _mind_shutdown(self) -> None:
        """A client that has sent everything gets everything: that comes to its end by itself."""
        await self._drain.refused()
        if not self._finished:
            self._stop(Parting(WSCloseCode.GOING_AWAY, ShuttingDownError("The daemon is shutting down."), told=False))

    async def _asked(self, request: Transcribe) -> Transcribed:
        """A text that somebody waits for goes before one that is shown meanwhile, on whichever stream."""
        partial = len(request.temperatures) == 1
        return await self._transcribers[Priority.NORMAL if partial else Priority.HIGH](request)

    async def _pass(self, request: Transcribe) -> Transcribed:
        try:
            return await self._passes(request)
        except RequestError as error:
            # What was wrong with this pass (its language, a model that is gone) is wrong with all of them.
            self._stop(Parting(POLICY_VIOLATION, error))
            raise

    def _end(self, parting: Parting) -> None:
        """The first reason counts."""
        self._parting = self._parting or parting

    def _stop(self, parting: Parting) -> None:
        """Hear no more; what was said is still transcribed where that is possible."""
        self._end(parting)
        if self._session is not None:
            self._session.finish()

    async def _part(self) -> None:
        parting = self._parting
        if parting is None:
            await self._socket.tell(_encode(End()))
            await self._socket.part(WSCloseCode.OK)
            return
        error = parting.error
        self._record.error = error.code
        if parting.told:
            await self._socket.tell(_encode(StreamFailure(code=error.code, message=error.message, hint=error.hint)))
        await self._socket.part(parting.code, error.message)
