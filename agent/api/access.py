"""What is remembered of one request, and the log line that it becomes."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler

from agent.api.connection import Connection
from agent.api.openai_errors import error_response, from_http_exception
from agent.api.parts import DRAIN, SETTINGS
from agent.errors import EdgeAgentError, ShuttingDownError

CLIENT_GONE = 499
"""nginx's status for a client that closed before the answer was complete; it is only ever logged."""

_PATH_LIMIT = 200
_QUIET_PATHS = frozenset({"/health", "/metrics", "/status", "/updates"})
"""Asked again and again, by machines and by an open page: a line for each would wear out an SD card."""
_QUIET_FOLDERS = ("/page/", "/updates/")
_ALWAYS_ANSWERED = frozenset({"/health", "/metrics", "/status"})

access_logger = logging.getLogger("agent.access")
_logger = logging.getLogger("agent.api")


@dataclass(slots=True)
class Record:
    """One request as the log will show it. Times are seconds; None is what never came to be known."""

    id: str = field(default_factory=lambda: secrets.token_hex(12))
    started: float = field(default_factory=time.monotonic)
    client: str = ""
    model: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    queue_s: float | None = None
    first_token_s: float | None = None
    tokens_per_second: float | None = None
    error: str | None = None

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def fields(self, method: str, path: str, status: int) -> dict[str, object]:
        """The structured part of the log line, without what is not known."""
        known: dict[str, object] = {
            "method": method,
            "path": path,
            "status": status,
            "duration_ms": round(self.elapsed_s() * 1e3, 1),
            "model": self.model,
            "prompt_tokens": self.prompt_tokens,
            "cached": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "queue_ms": _milliseconds(self.queue_s),
            "ttft_ms": _milliseconds(self.first_token_s),
            "tokens_per_second": None if self.tokens_per_second is None else round(self.tokens_per_second, 2),
            "client": self.client or None,
            "request_id": self.id,
            "error": self.error,
        }
        return {name: value for name, value in known.items() if value is not None}


class ClientGoneError(Exception):
    """The client closed its connection, or stopped reading, in mid-answer."""


RECORD = web.RequestKey("record", Record)


def record_of(request: web.Request) -> Record:
    return request[RECORD]


@web.middleware
async def access(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost layer: identity, errors as envelopes, the log line, and word to the connection's guard."""
    record = request[RECORD] = Record()
    connection = request.transport.get_protocol() if request.transport is not None else None
    guard = connection if isinstance(connection, Connection) else None
    if guard is not None:
        guard.request_started()
    status = CLIENT_GONE
    try:
        with request.app[DRAIN]:
            response = await _answer(request, handler)
        status = response.status
        return response
    except ClientGoneError:
        record.error = record.error or "client_gone"
        raise ConnectionResetError("the client is gone") from None
    except asyncio.CancelledError:
        record.error = record.error or "client_gone"
        raise
    finally:
        if guard is not None:
            # An answer may come before the end of the body: what is left of it is no head.
            request.content.on_eof(guard.request_finished)
        _log(request, record, status)


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        if request.app[DRAIN].refusing and request.path not in _ALWAYS_ANSWERED:
            response = error_response(ShuttingDownError("The daemon is shutting down.", hint="Send it again later."))
            response.force_close()
            return response
        return await handler(request)
    except EdgeAgentError as error:
        request[RECORD].error = error.code
        return error_response(error)
    except web.HTTPException as error:
        ours = from_http_exception(
            error,
            method=request.method,
            path=request.path[:_PATH_LIMIT],
            body_limit_bytes=request.app[SETTINGS].body_limit_bytes,
        )
        request[RECORD].error = ours.code
        return error_response(ours)
    except (ClientGoneError, ConnectionError):
        raise ClientGoneError from None
    except Exception:
        _logger.exception("request %s failed", request[RECORD].id)
        request[RECORD].error = EdgeAgentError.code
        return error_response(unexpected())


def unexpected() -> EdgeAgentError:
    """What a client is told about a fault of ours: nothing that is inside."""
    return EdgeAgentError("Something went wrong inside the daemon.", hint="Its log has the details.")


async def add_identity(request: web.Request, response: web.StreamResponse) -> None:
    """Headers of every response; runs just before they are sent."""
    if (record := request.get(RECORD)) is not None:
        response.headers["X-Request-Id"] = record.id
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Server"] = "edge-agent"


def _log(request: web.Request, record: Record, status: int) -> None:
    quiet = request.path in _QUIET_PATHS or request.path.startswith(_QUIET_FOLDERS)
    level = logging.DEBUG if quiet and status < 400 else logging.INFO
    if not access_logger.isEnabledFor(level):
        return
    fields = record.fields(request.method, request.rel_url.raw_path[:_PATH_LIMIT], status)
    line = " ".join(
        str(value) if name in ("method", "path", "status") else f"{name}={value}" for name, value in fields.items()
    )
    access_logger.log(level, "%s", line, extra={"fields": fields})


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 2)
