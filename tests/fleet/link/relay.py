"""A line to the broker that can be cut without a word, as a radio link is; and servers that are no brokers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

CONNACK_3 = b"\x20\x02\x00\x00"
CONNACK_5 = b"\x20\x03\x00\x00\x00"
REFUSED_VERSION = b"\x20\x02\x00\x01"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """`script` talks with each client. Nothing that it raises matters."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.clients = 0
        self.port = 0

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ExceptionGroup):
                await self._script(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()


class Relay(Server):
    """Passes bytes on. While `cut`, it swallows them, both ways, and answers nobody."""

    def __init__(self, port: int, *, old_broker: bool = False) -> None:
        super().__init__(self._relay)
        self._target = port
        self._old_broker = old_broker
        self.cut = False
        self.sent = bytearray()
        """What clients said."""

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(4096)
        if self._old_broker and b"MQTT\x05" in first:
            writer.write(REFUSED_VERSION)
            await writer.drain()
            return
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, broker_writer, first, self.sent))
                group.create_task(self._pass(broker_reader, writer))
        finally:
            broker_writer.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        data: bytes = b"",
        kept: bytearray | None = None,
    ) -> None:
        data = data or await reader.read(65_536)
        while data:
            if kept is not None:
                kept += data
            if not self.cut:
                writer.write(data)
                await writer.drain()
            data = await reader.read(65_536)
        if not self.cut:
            raise ConnectionError("one side has closed")
        await asyncio.Event().wait()
