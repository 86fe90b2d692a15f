"""`POST /v1/assist`: what somebody says or writes, made into an action."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from agent.api.answer import gather
from agent.api.decode import Body, check_portable, checked, decode, wrong
from agent.api.generation import submit
from agent.api.generation_body import Seconds, urgency
from agent.api.live import Name, Prompt
from agent.api.models import find_model
from agent.api.parts import LISTENING, RUNTIME, SETTINGS
from agent.api.transcription_answer import Transcript
from agent.api.transcription_form import FILE, TranscriptionForm
from agent.api.transcriptions import Work
from agent.api.upload import receive
from agent.errors import EdgeAgentError, EngineError, RequestError
from agent.runtime.wire.generation import Generate, Sampling
from agent.speech.utterance import next_said
from agent.speech.wanted import Wanted
from agent.starter.action import action_schema

MOST_TOKENS = 256
"""Of an action: a model that writes more has lost its way."""
LISTENING_S = 15.0

Text = Annotated[str, Meta(min_length=1, max_length=10_000, description="a string of 1 to 10000 characters")]
Wait = Annotated[float, Meta(gt=0, le=300, description="a number of seconds, above 0 and at most 300")]
Schema = Annotated[dict[str, Any], Meta(description="a JSON Schema object")]


class AssistRequest(Body, kw_only=True):
    """One of `text`, `microphone` and an uploaded file. `model` makes the action, `transcription_model` the text;
    `schema` is the action's form instead of our own, `system` what the model is told before."""

    text: Text | None = None
    microphone: Annotated[bool, Meta(description="true or false")] = False
    device: Name | None = None
    timeout_s: Wait = LISTENING_S
    model: Name | None = None
    transcription_model: Name | None = None
    language: Name | None = None
    prompt: Prompt | None = None
    system: Text | None = None
    schema: Schema | None = None
    priority: str | None = None
    deadline_s: Seconds | None = None

    def check(self, *, with_file: bool) -> None:
        """Raises `RequestError` unless there is one thing to understand."""
        if [self.text is not None, self.microphone, with_file].count(True) != 1:
            raise RequestError(
                "Expected one of `text`, `microphone` and `file`.",
                hint='Send {"text": "turn on the light"}, {"microphone": true}, or a recording as multipart/form-data.',
                param="text",
            )
        if self.schema is not None:
            check_portable(self.schema, "schema")

    def patience_s(self, default_s: float) -> float:
        return self.deadline_s or default_s


@dataclass(frozen=True, kw_only=True)
class _Heard:
    """`text` is None where nobody said anything. `transcribe_s` is what the text took from the end of speech, or of
    the upload, on; None for text that was written. `began` is the monotonic time at that end."""

    text: str | None
    began: float
    speech_s: float | None = None
    transcribe_s: float | None = None


async def assist(request: web.Request) -> web.Response:
    if request.content_type == "multipart/form-data":
        body, heard = await _read_file(request)
        return await _act(request, body, heard)
    body = await decode(request, AssistRequest)
    body.check(with_file=False)
    if body.text is not None:
        return await _act(request, body, _Heard(text=body.text, began=time.monotonic()))
    async with _kept_ready(request, find_model(request, body.model, "generate")):
        return await _act(request, body, await _listen(request, body))


async def _read_file(request: web.Request) -> tuple[AssistRequest, _Heard]:
    limit_bytes = request.app[SETTINGS].audio_limit_bytes
    async with receive(request, AssistRequest, file_field=FILE, limit_bytes=limit_bytes) as upload:
        began = time.monotonic()
        body = _from_form(upload.fields)
        body.check(with_file=True)
        find_model(request, body.model, "generate")  # a mistake shall not be told after minutes
        form = TranscriptionForm(
            model=body.transcription_model,
            language=body.language,
            prompt=body.prompt or "",
            priority=body.priority,
            deadline_s=body.deadline_s,
        )
        transcript = Transcript(form, "transcribe")
        with Work(request, find_model(request, form.model, "transcribe"), form) as work:
            source = work.pieces(upload, form.to_transcribe("transcribe"), transcript)
            async with contextlib.aclosing(source) as pieces:
                async for piece in pieces:
                    transcript.add(piece)
        text = transcript.text.strip() or None
        return body, _Heard(text=text, began=began, transcribe_s=time.monotonic() - began)


async def _listen(request: web.Request, body: AssistRequest) -> _Heard:
    wanted = Wanted(device=body.device, model=body.transcription_model, language=body.language, prompt=body.prompt)
    async with request.app[LISTENING].listen(wanted, levels=False) as listener:
        said = await next_said(listener, timeout_s=body.timeout_s)
    if said is None:
        return _Heard(text=None, began=time.monotonic())
    return _Heard(text=said.text, began=said.speech_ended, speech_s=said.speech_s, transcribe_s=said.waited_s)


async def _act(request: web.Request, body: AssistRequest, heard: _Heard) -> web.Response:
    model = find_model(request, body.model, "generate")
    timings: dict[str, float | None] = {"speech_s": heard.speech_s, "transcribe_s": heard.transcribe_s}
    action: Any = None
    if heard.text is not None:
        started = time.monotonic()
        action = await _action(request, body, model, heard.text)
        timings["action_s"] = time.monotonic() - started
    else:
        timings["action_s"] = None
    timings["total_s"] = time.monotonic() - heard.began
    answer = {
        "text": heard.text or "",
        "action": action,
        "model": model,
        "timings": {name: None if value is None else round(value, 4) for name, value in timings.items()},
    }
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


async def _action(request: web.Request, body: AssistRequest, model: str, text: str) -> Any:
    """Raises what a generation raises, and `EngineError` for an answer that is not whole."""
    system = [] if body.system is None else [{"role": "system", "content": body.system}]
    generate = Generate(
        messages=(*system, {"role": "user", "content": text}),
        json_schema=action_schema() if body.schema is None else body.schema,
        sampling=Sampling(temperature=0.0),
        max_tokens=MOST_TOKENS,
    )
    deadline_s = body.patience_s(request.app[SETTINGS].request_timeout_s)
    generation = submit(request, model, [generate], priority=urgency(body.priority), deadline_s=deadline_s)
    (choice,) = await gather(generation, n=1, total=1)
    try:
        return msgspec.json.decode(choice.text)
    except msgspec.DecodeError:
        raise EngineError(
            f"{model} wrote no whole action within {MOST_TOKENS} tokens.", hint="Ask with another model, or `schema`."
        ) from None


@contextlib.asynccontextmanager
async def _kept_ready(request: web.Request, model: str) -> AsyncIterator[None]:
    """The model loads while somebody still speaks; if it cannot be, the request that follows says why."""
    runtime = request.app[RUNTIME]

    async def load() -> None:
        with contextlib.suppress(EdgeAgentError):
            await runtime.load(model)

    with runtime.keep(model):
        loading = asyncio.create_task(load(), name="assist:load")
        try:
            yield
        finally:
            loading.cancel()


def _from_form(fields: dict[str, list[str]]) -> AssistRequest:
    """Raises `RequestError`."""
    plain: dict[str, Any] = {}
    for name, values in fields.items():
        if len(values) > 1:
            raise RequestError(f"`{name}` is there {len(values)} times.", hint="Send it once.", param=name)
        if values[0]:
            plain[name] = values[0]
    if "schema" in plain:
        try:
            plain["schema"] = msgspec.json.decode(plain["schema"])
        except msgspec.DecodeError:
            raise wrong("schema", plain["schema"], "a JSON Schema object") from None
    return checked(plain, AssistRequest, from_text=True)
