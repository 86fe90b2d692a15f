"""A WebSocket that says why it ends, notices who is gone, and holds little for who does not read."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final

from aiohttp import WebSocketError, WSCloseCode, WSMsgType, web

from agent.api.access import ClientGoneError
from agent.api.keys import SUBPROTOCOL
from agent.api.parts import SETTINGS
from agent.errors import RequestError
from agent.speech.client_stream import POLICY_VIOLATION, BadMessageError

CLOSE_WAIT_S: Final = 2.0
"""For the client's half of a goodbye."""
WRITE_LIMIT_BYTES: Final = 16 * 1024
"""After so much, a write waits for a client that does not read."""
RECEIVE_BUFFER_BYTES: Final = 64 * 1024
"""The kernel's, for this connection: what is in it stands before a client's ping, and would be megabytes otherwise."""
_REASON_BYTES: Final = 123  # RFC 6455, 5.5: a close frame's payload is at most 125


class Socket(web.WebSocketResponse):
    """aiohttp's, but `receive` does not close it when a message is broken: `part` does, after the last words.

    Compression is not offered: sound does not shrink, and bombs do.
    """

    def __init__(self, request: web.Request, *, message_limit_bytes: int) -> None:
        """Raises `RequestError` where the request asks for no WebSocket."""
        _check_upgrade(request)
        super().__init__(
            timeout=CLOSE_WAIT_S,
            autoclose=False,
            autoping=False,
            protocols=(SUBPROTOCOL,),
            compress=False,
            max_msg_size=message_limit_bytes + 1,  # the first size that aiohttp refuses
            writer_limit=WRITE_LIMIT_BYTES,
        )
        if not self.can_prepare(request):
            raise RequestError("The WebSocket handshake is broken.", hint="Use version 13, with a key of 16 bytes.")
        settings = request.app[SETTINGS]
        self._message_limit_bytes = message_limit_bytes
        self._write_timeout_s = settings.write_timeout_s
        self._ping_s = settings.websocket_ping_s
        self._request = request
        self._transport = request.transport
        self._broken = False

    async def open(self) -> None:
        """Raises `ClientGoneError`."""
        try:
            await self.prepare(self._request)
        except ConnectionError:
            raise ClientGoneError from None
        if self._transport is not None and (connection := self._transport.get_extra_info("socket")) is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    async def hear(self, silence_limit_s: float | None = None) -> bytes | str:
        """The next message. Meanwhile pings are answered, and a client that is silent is pinged.

        Raises `ClientGoneError` when it closes or answers no ping, and `BadMessageError` for what cannot be read, or
        after `silence_limit_s` without a message.
        """
        loop = asyncio.get_running_loop()
        began, asked = loop.time(), False
        while True:
            try:
                message = await self.receive(self._ping_s)
            except TimeoutError:
                if asked:
                    self._abort()
                    raise ClientGoneError from None
                asked = True
                await self._write(b"", WSMsgType.PING)
                message = None
            if message is not None:
                asked = False
                match message.type:
                    case WSMsgType.BINARY | WSMsgType.TEXT:
                        data: bytes | str = message.data
                        return data
                    case WSMsgType.PING:
                        await self._write(message.data, WSMsgType.PONG)
                    case WSMsgType.PONG:
                        pass
                    case WSMsgType.ERROR if isinstance(message.data, WebSocketError):
                        self._broken = True
                        raise self._unreadable(message.data)
                    case WSMsgType.CLOSE:
                        await self.part(WSCloseCode.OK)
                        raise ClientGoneError
                    case _:
                        raise ClientGoneError
            if silence_limit_s is not None and loop.time() - began > silence_limit_s:
                raise BadMessageError(
                    f"Nothing came for {silence_limit_s:g} s.", hint="Connect again.", close_code=POLICY_VIOLATION
                )

    async def tell(self, text: bytes) -> None:
        """Sends UTF-8 text. Raises `ClientGoneError` when the client has closed, or does not read for long."""
        await self._write(text, WSMsgType.TEXT)

    async def part(self, code: int, reason: str = "") -> None:
        """The close frame, and a little time for the client's; what comes meanwhile is thrown away.

        After it the connection is closed, or cut off where the client has not read everything.
        """
        message = _fitting(reason)
        try:
            async with asyncio.timeout(CLOSE_WAIT_S * 2):
                if self._broken:
                    # Nothing more can be read. Closing with unread bytes resets the connection, and our words would be
                    # lost: wait until the client closes it, which cancels us.
                    await self.send_frame(struct.pack("!H", code) + message, WSMsgType.CLOSE)
                    await asyncio.sleep(CLOSE_WAIT_S)
                else:
                    await super().close(code=code, message=message)
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._hang_up()

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        """What aiohttp calls when a message cannot be read, and at the end of the handler; `part` is ours."""
        return False

    async def _write(self, data: bytes, kind: WSMsgType) -> None:
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await self.send_frame(data, kind)
        except TimeoutError:
            self._abort()
            raise ClientGoneError from None
        except ConnectionError:
            raise ClientGoneError from None

    def _unreadable(self, error: WebSocketError) -> BadMessageError:
        if error.code == WSCloseCode.MESSAGE_TOO_BIG:
            text, hint = f"A message is larger than {self._message_limit_bytes} bytes.", "Send it in pieces."
        elif error.code == WSCloseCode.INVALID_TEXT:
            text, hint = "A text message is not UTF-8.", "Send sound in binary messages."
        else:
            text, hint = f"The client does not keep to the WebSocket protocol: {error}.", ""
        return BadMessageError(text, hint=hint, close_code=error.code)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _hang_up(self) -> None:
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()


def _check_upgrade(request: web.Request) -> None:
    headers = request.headers
    if headers.get("Upgrade", "").strip().lower() != "websocket":
        raise RequestError(
            "This is a WebSocket, and the request is a plain one.", hint="Connect with a WebSocket client."
        )
    offered = [one.strip() for one in ",".join(headers.getall("Sec-WebSocket-Protocol", ())).split(",")]
    if offered != [""] and SUBPROTOCOL not in offered:
        # A browser would give up on an answer that names none. And aiohttp would log what was offered: a key, maybe.
        raise RequestError(
            "None of the WebSocket subprotocols offered is known.", hint=f"Offer {SUBPROTOCOL}, or none at all."
        )


def _fitting(reason: str) -> bytes:
    return reason.encode()[:_REASON_BYTES].decode(errors="ignore").encode()
