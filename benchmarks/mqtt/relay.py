"""A TCP line to one port that can be cut without a word, as a radio link is."""

from __future__ import annotations

import asyncio
import contextlib


class Relay:
    """`async with Relay(port) as relay`: clients connect to `relay.port`. What is open when the line is cut stays open
    and says nothing any more, also when the line is there again: the far side has given up by then."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._cuts = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut = False
        self.port = 0

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def break_off(self) -> None:
        """New connections are taken and get no answer: to whoever dials it is the same as no answer at all."""
        self.cut = True
        self._cuts += 1

    def join(self) -> None:
        self.cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, ExceptionGroup, asyncio.CancelledError):  # nothing is left to be done
                await self._relay(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cuts = self._cuts
        if self.cut:
            await _swallow(reader)
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, far_writer, cuts))
                group.create_task(self._pass(far_reader, writer, cuts))
        finally:
            far_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cuts: int) -> None:
        while data := await reader.read(65_536):
            if self._cuts == cuts:
                writer.write(data)
                await writer.drain()
        if self._cuts == cuts:
            raise ConnectionError("one side has closed")
        await asyncio.Event().wait()


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass
