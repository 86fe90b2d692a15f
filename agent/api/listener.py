"""The listening sockets: opened with every connection guarded, closed without cutting off who is being answered."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agent.api.connection import Connection
from agent.api.keys import ApiKeys
from agent.api.parts import CHANGES, CONNECTIONS, DRAIN, SETTINGS
from agent.api.security import check_binding
from agent.errors import ConfigError

_BACKLOG = 1024
_HEADER_LINE_BYTES = 8190
_HEADER_COUNT = 64
_LINGERING_S = 5.0
_LAST_WORDS_S = 0.5

_logger = logging.getLogger("agent.api.http")


class _MalformedRequests(logging.Filter):
    """A client that does not speak HTTP is worth a line, not a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args, record.exc_info = "malformed request: %s", (error.message.split("\n")[0],), None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


class Listener:
    """Serves an application of `make_app` until closed."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._settings = app[SETTINGS]
        self._servers: list[asyncio.Server] = []
        self._inherited = False
        if not any(isinstance(found, _MalformedRequests) for found in _logger.filters):
            _logger.addFilter(_MalformedRequests())
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            logger=_logger,
            keepalive_timeout=self._settings.keep_alive_s,
            max_line_size=_HEADER_LINE_BYTES,
            max_field_size=_HEADER_LINE_BYTES,
            max_headers=_HEADER_COUNT,
            lingering_time=_LINGERING_S,
            shutdown_timeout=_LAST_WORDS_S,
        )

    async def open(self, host: str, port: int, *, keys: ApiKeys, inherited: Sequence[socket.socket] = ()) -> int:
        """Listens on `host`; returns the port, which the system chooses for `port` 0.

        With `inherited`, sockets that listen already, those are served instead, and closed in the end. Raises
        `ConfigError` if the binding needs a key and has none, or if it is not possible.
        """
        for address in [str(each.getsockname()[0]) for each in inherited] or [host]:
            check_binding(address, keys)
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        settings, count = self._settings, self._app[CONNECTIONS]

        def connection() -> Connection:
            return Connection(server(), settings, count)

        loop = asyncio.get_running_loop()
        self._inherited = bool(inherited)
        try:
            if not inherited:
                self._servers.append(await loop.create_server(connection, host, port, backlog=_BACKLOG))
            for each in inherited:
                self._servers.append(await loop.create_server(connection, sock=each, backlog=_BACKLOG))
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"Cannot listen on {host} port {port}: {error.strerror or error}.",
                hint="Another program may have the port; choose one with --port.",
                param="port",
            ) from None
        return int(self._servers[0].sockets[0].getsockname()[1])

    def refuse(self) -> None:
        """New requests get 503 from now on, also on connections that are open; those being answered go on.

        At inherited sockets new connections wait for the next daemon instead, which whoever holds them will start.
        """
        self._app[DRAIN].refuse()
        if self._inherited:
            self._stop_accepting()

    async def close(self, grace_s: float) -> bool:
        """Refuses new requests, waits for running ones for at most `grace_s`, then ends them and closes everything.

        Returns whether all could finish. Call `Runtime.stop` first or meanwhile: it is what ends the streams well.
        """
        self.refuse()
        finished = await self._app[DRAIN].wait_idle(grace_s)
        self._stop_accepting()
        if changes := self._app[CHANGES]:
            await asyncio.wait(changes, timeout=grace_s)
        await self._runner.cleanup()
        return finished

    def _stop_accepting(self) -> None:
        for server in self._servers:
            server.close()
