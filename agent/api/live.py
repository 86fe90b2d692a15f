"""`/v1/audio/live`: the device's microphone as a stream of events, held open and closed; `/v1/audio/devices`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from agent.api.decode import Body, checked, parse, read_body
from agent.api.parts import LISTENING
from agent.api.sse import EventStream
from agent.errors import EdgeAgentError, ForbiddenError
from agent.speech.events import LiveEvent
from agent.speech.wanted import Wanted

PING = b": ping\n\n"
PING_S = 15.0
"""A stream that says nothing for so long sends a comment: proxies cut silent ones, and a client that is gone shows."""
PROMPT_CHARACTERS = 4000
"""More than a model takes: 224 tokens."""

Name = Annotated[str, Meta(max_length=200, description="a string of at most 200 characters")]
Prompt = Annotated[
    str, Meta(max_length=PROMPT_CHARACTERS, description=f"a string of at most {PROMPT_CHARACTERS} characters")
]


class StartRequest(Body, kw_only=True):
    """`POST /v1/audio/live/start`. What is left out is as the settings say, or as it runs already."""

    device: Name | int | None = None
    model: Name | None = None
    language: Name | None = None
    prompt: Prompt | None = None

    def wanted(self) -> Wanted:
        """Names that are empty are left out."""
        device = None if self.device is None else str(self.device)
        return Wanted(
            device=device or None, model=self.model or None, language=self.language or None, prompt=self.prompt
        )


class LiveQuery(Body, kw_only=True):
    """The query of `GET /v1/audio/live`: `StartRequest`'s fields, and whether `level` events are sent."""

    device: Name | None = None
    model: Name | None = None
    language: Name | None = None
    prompt: Prompt | None = None
    level: Annotated[bool, Meta(description="1 or 0")] = True

    def wanted(self) -> Wanted:
        return StartRequest(device=self.device, model=self.model, language=self.language, prompt=self.prompt).wanted()


async def live_events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/audio/live`: opens the microphone if need be, and closes it after the last listener."""
    _refuse_other_sites(request)
    query = checked({name: value for name, value in request.query.items() if value}, LiveQuery, from_text=True)
    out = EventStream(request)
    async with request.app[LISTENING].listen(query.wanted(), levels=query.level) as listener:
        try:
            while True:
                try:
                    async with asyncio.timeout(PING_S):
                        events = await anext(listener)
                except TimeoutError:
                    await out.send(PING)
                except StopAsyncIteration:
                    break
                else:
                    await out.send(b"".join(map(message, events)))
        except EdgeAgentError as error:
            if not out.started:
                raise
            return await out.fail(error)
    return await out.finish(b"")


def message(event: LiveEvent) -> bytes:
    """One server-sent event: its type, and the whole of it as JSON."""
    data = msgspec.json.encode(event)
    kind = str(event.__struct_config__.tag)
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


async def start_live(request: web.Request) -> web.Response:
    """`POST /v1/audio/live/start`: holds the microphone open until it is stopped. Answers with its state."""
    body = await read_body(request)
    wanted = (parse(body, StartRequest) if body.strip() else StartRequest()).wanted()
    return _json(await request.app[LISTENING].start(wanted))


async def stop_live(request: web.Request) -> web.Response:
    """`POST /v1/audio/live/stop`: closes the microphone for everyone. Answers with its state when it is closed."""
    await read_body(request)
    return _json(await request.app[LISTENING].stop())


async def list_devices(request: web.Request) -> web.Response:
    """`GET /v1/audio/devices`: the input devices, and the microphone's state. Opens none."""
    listening = request.app[LISTENING]
    devices = [
        {
            "index": device.index,
            "name": device.name,
            "channels": device.channels,
            "sample_rate_hz": device.rate_hz,
            "default": device.default,
        }
        for device in await listening.devices()
    ]
    return _json({"devices": devices, "microphone": listening.state})


def _refuse_other_sites(request: web.Request) -> None:
    """A page of another site can make a browser GET an address without an Origin (an image, a link): it would hear
    nothing, but open the microphone. Raises `ForbiddenError`."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site in ("cross-site", "same-site") and "Origin" not in request.headers:
        raise ForbiddenError(
            "Pages of other sites may not open the microphone.", hint="Add the origin to allowed_origins in agent.toml."
        )


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
