"""Errors as OpenAI's clients expect them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import math

import msgspec
from aiohttp import web

from agent.errors import EdgeAgentError, NotFoundError, QueueFullError, RequestError, TooLargeError, UnauthorizedError

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class ErrorBody(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


class Envelope(msgspec.Struct, frozen=True):
    error: ErrorBody


class MethodNotAllowedError(RequestError):
    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.allowed = allowed


class SlowClientError(RequestError):
    status = 408
    code = "request_timeout"


def error_type(status: int) -> str:
    """OpenAI's `type` for an HTTP status."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")


def envelope(error: EdgeAgentError) -> bytes:
    """The JSON body for `error`."""
    body = ErrorBody(message=str(error), type=error_type(error.status), param=error.param, code=error.code)
    return msgspec.json.encode(Envelope(body))


def error_response(error: EdgeAgentError) -> web.Response:
    """The whole HTTP response for `error`, with the headers that its status calls for."""
    response = web.Response(status=error.status, body=envelope(error), content_type="application/json")
    if isinstance(error, QueueFullError):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif error.status == 503:
        response.headers["Retry-After"] = "1"
    elif isinstance(error, UnauthorizedError):
        response.headers["WWW-Authenticate"] = 'Bearer realm="edge-agent"'
    elif isinstance(error, MethodNotAllowedError):
        response.headers["Allow"] = error.allowed
    if isinstance(error, TooLargeError | SlowClientError):
        response.force_close()
    return response


def from_http_exception(error: web.HTTPException, *, method: str, path: str, body_limit_bytes: int) -> EdgeAgentError:
    """aiohttp's own refusals (no such route, wrong method, body too large) in our words."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowedError(f"{path} does not take {method}.", allowed=allowed, hint=f"Use {allowed}.")
    if isinstance(error, web.HTTPNotFound):
        return NotFoundError(f"There is nothing at {path}.", hint="GET / lists the routes.")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return too_large(body_limit_bytes)
    return RequestError(f"The request was refused: {error.reason}.")


def too_large(body_limit_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"The body is larger than {body_limit_bytes} bytes.", hint="Send less, or raise max_body_mb in agent.toml."
    )
