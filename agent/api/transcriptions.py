"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`: an audio file in, text or subtitles out."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType

import msgspec
from aiohttp import web
from msgspec.structs import replace

from agent.api.access import ClientGoneError, record_of, unexpected
from agent.api.generation_body import urgency
from agent.api.models import find_model
from agent.api.parts import FILE_TURNS, METRICS, RUNTIME, SETTINGS
from agent.api.sse import DONE, EventStream, event
from agent.api.transcription_answer import Task, Transcript
from agent.api.transcription_form import FILE, TranscriptionForm, read_form
from agent.api.upload import Upload, receive
from agent.errors import EdgeAgentError, EngineError, RequestError
from agent.runtime.wire.transcription import Transcribe, Transcribed
from agent.speech.files import AudioFile, TranscribedPiece, transcribe_pieces
from agent.speech.transcriber import RuntimeTranscriber

LATER_DEADLINE_S = 86_400.0
"""How long a later piece may wait for its turn: what was done of the file would be lost."""

_logger = logging.getLogger("agent.api")


async def transcriptions(request: web.Request) -> web.StreamResponse:
    return await _answer(request, "transcribe")


async def translations(request: web.Request) -> web.StreamResponse:
    return await _answer(request, "translate")


async def _answer(request: web.Request, task: Task) -> web.StreamResponse:
    limit_bytes = request.app[SETTINGS].audio_limit_bytes
    async with receive(request, TranscriptionForm, file_field=FILE, limit_bytes=limit_bytes) as upload:
        form = read_form(upload.fields)
        pattern = form.to_transcribe(task)
        model = find_model(request, form.model, "transcribe")
        transcript = Transcript(form, task)
        work = Work(request, model, form)
        if form.stream:
            return await _send_stream(request, work, work.pieces(upload, pattern, transcript), transcript)
        with work:
            async with aclosing(work.pieces(upload, pattern, transcript)) as pieces:
                async for piece in pieces:
                    transcript.add(piece)
        return transcript.response()


class Work:
    """One file's requests to the runtime. Leaving it closes the books: metrics and the log record."""

    def __init__(self, request: web.Request, model: str, form: TranscriptionForm) -> None:
        runtime, client, priority = request.app[RUNTIME], record_of(request).client, urgency(form.priority)
        self._deadline_s = form.deadline_s or form.timeout or request.app[SETTINGS].request_timeout_s
        self._first, self._later = (
            RuntimeTranscriber(runtime, model, client=client, priority=priority, deadline_s=deadline_s, billed=True)
            for deadline_s in (self._deadline_s, LATER_DEADLINE_S)
        )
        self._record = record_of(request)
        self._record.model = model
        self._metrics = request.app[METRICS].of(model)
        self._turns = request.app[FILE_TURNS]
        self._all_sound = not form.vad_filter
        self._text_only = form.response_format in ("json", "text")
        self._untimed = False
        self._tokens, self._decode_s, self._done = 0, 0.0, 0

    def __enter__(self) -> Work:
        self._metrics.started()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record = self._record
        record.queue_s = self._first.queued_s + self._later.queued_s
        if self._done:
            record.completion_tokens = self._tokens
            record.tokens_per_second = self._tokens / self._decode_s if self._decode_s > 0 else None
        if isinstance(error, EdgeAgentError):
            record.error = error.code
        self._metrics.finished(record, error)

    async def pieces(
        self, upload: Upload, pattern: Transcribe, transcript: Transcript
    ) -> AsyncGenerator[TranscribedPiece, None]:
        """Each piece as soon as it is done; at last `transcript` knows how the file ended.

        A full queue is an error before the first piece, and waited for later.
        """
        try:
            async with self._turns.turn(self._deadline_s), AudioFile(upload.file, all_sound=self._all_sound) as audio:
                transcript.begin(audio.info)
                source = transcribe_pieces(audio, pattern, self._transcribe, max_first_refused_s=0.0)
                async with aclosing(source) as pieces:
                    async for piece in pieces:
                        yield piece
                if audio.end is None:
                    raise EngineError("The audio decoder did not say how the file ends.")
                transcript.end(audio.end, joules=await self._joules())
        except RequestError as error:
            error.param = error.param or FILE
            raise

    async def _joules(self) -> float | None:
        """None where there was no speech, and so nothing to measure."""
        first, later = await self._first.joules(), await self._later.joules()
        return None if first is None or later is None or not self._done else first + later

    async def _transcribe(self, request: Transcribe) -> Transcribed:
        ask = self._later if self._done else self._first
        if self._untimed:
            request = replace(request, timestamps="none")
        try:
            done = await ask(request)
        except RequestError as error:
            if error.param != "timestamps" or not self._text_only or self._untimed:
                raise
            self._untimed = True  # a model without timestamps can still say what was said
            done = await ask(replace(request, timestamps="none"))
        if self._record.first_token_s is None:
            self._record.first_token_s = time.monotonic() - self._record.started
        self._done += 1
        self._tokens += done.completion_tokens
        self._decode_s += done.decode_s
        self._metrics.tokens(done.completion_tokens)
        return done


async def _send_stream(
    request: web.Request, work: Work, source: AsyncGenerator[TranscribedPiece, None], transcript: Transcript
) -> web.StreamResponse:
    out = EventStream(request)
    try:
        with work:
            async with aclosing(source) as pieces:
                async for piece in pieces:
                    new = transcript.add(piece)
                    if new or transcript.tells_progress:
                        await out.send(_event("transcript.text.delta", delta=new, **transcript.progress(piece)))
        done = {**transcript.as_json(), **transcript.faults()}
        return await out.finish(_event("transcript.text.done", **done) + DONE)
    except EdgeAgentError as error:
        if not out.started:
            raise
        return await out.fail(error)
    except (ClientGoneError, ConnectionError):
        raise
    except Exception:
        if not out.started:
            raise
        _logger.exception("request %s failed in mid-stream", record_of(request).id)
        return await out.fail(unexpected())


def _event(kind: str, **fields: object) -> bytes:
    return event(msgspec.json.encode({"type": kind, **fields}))
