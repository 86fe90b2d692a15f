"""Server-sent events: headers with the first event, one write per batch of events, a bound on the time to write."""

from __future__ import annotations

import asyncio

from aiohttp import web

from agent.api.access import ClientGoneError
from agent.api.openai_errors import envelope
from agent.api.parts import SETTINGS
from agent.errors import EdgeAgentError

DONE = b"data: [DONE]\n\n"

_LARGE_WRITE_BYTES = 32 * 1024
"""Below the transport's high-water mark (64 KiB): a write of this size into an empty buffer never has to wait."""


def event(data: bytes) -> bytes:
    """One event; `data` is JSON without line breaks."""
    return b"data: " + data + b"\n\n"


class EventStream:
    """The response to one streaming request.

    Nothing is sent before the first `send`, so that an error up to there can still be an HTTP status. `send` and
    `finish` raise `ClientGoneError` when the client has closed, or does not read for `write_timeout_s`.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._timeout_s = request.app[SETTINGS].write_timeout_s
        self._transport = request.transport
        self._chunked = False
        self.response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        )

    @property
    def started(self) -> bool:
        return self.response.prepared

    async def send(self, data: bytes) -> None:
        """Sends whole events in one write."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ClientGoneError
        try:
            if not self.response.prepared:
                await self.response.prepare(self._request)
                self._chunked = self.response.headers.get("Transfer-Encoding") == "chunked"
            if len(data) < _LARGE_WRITE_BYTES and not transport.get_write_buffer_size():
                await self.response.write(data)
                return
            async with asyncio.timeout(self._timeout_s):
                await self.response.write(data)
        except TimeoutError:
            transport.abort()
            raise ClientGoneError from None
        except ConnectionError:
            raise ClientGoneError from None

    def send_at_once(self, data: bytes) -> bool:
        """`send` for a callback, while no `send` is under way: False, and nothing is sent, where it would have to wait.

        Writes an HTTP chunk past aiohttp, whose writer is a coroutine and cannot be called from here.
        """
        transport = self._transport
        if not self._chunked or transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    async def finish(self, data: bytes) -> web.StreamResponse:
        """Sends the last events and ends the response."""
        await self.send(data)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.response.write_eof()
        except (TimeoutError, ConnectionError):
            raise ClientGoneError from None
        return self.response

    async def fail(self, error: EdgeAgentError) -> web.StreamResponse:
        """Ends a started response with an error event in place of what is missing; the connection can go on."""
        return await self.finish(event(envelope(error)))
